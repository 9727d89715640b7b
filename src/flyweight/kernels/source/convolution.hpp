// Square convolutions of few channels, stride 1: forwards, back to the input, and to the weights.
//
// A vector holds the output channels of one place; a block of places in a row is kept in registers while the weights
// run by. Both types work on elements of 32 bits: a float, or two bfloat16 that are multiplied and added in pairs. An
// image is first laid out with its border of zeros, so that no loop asks where the border is.
#pragma once

#include <array>
#include <utility>

#include "common.hpp"

#ifdef __AVX512F__
#define FLYWEIGHT_CONVOLVES 1
#endif

namespace {

// What a convolution is: sides of its input, of its output, and its channels.
struct Shape {
    int64_t height, width, in, out, kernel, padding;
    int64_t out_height() const { return height + 2 * padding - kernel + 1; }
    int64_t out_width() const { return width + 2 * padding - kernel + 1; }
    int64_t framed_height() const { return height + 2 * padding; }
    int64_t framed_width() const { return width + 2 * padding; }
    int64_t vectors() const { return (out + LANES - 1) / LANES; }
};

#ifdef FLYWEIGHT_CONVOLVES

// Registers for sums: 32 there are, less a vector of weights per group of 16 channels and the one that is spread.
constexpr int MAX_SUMS = 28;
constexpr int MAX_VECTORS = 4;
// What a core's first-level cache holds at least.
constexpr int64_t FIRST_CACHE_BYTES = 32768;

struct Floats {
    using Value = float;
    using Element = float;
    static constexpr int64_t per_element = 1;
    using Vector = __m512;
    static Vector vector(const Element* place) { return _mm512_loadu_ps(place); }
    static Vector spread(Element x) { return _mm512_set1_ps(x); }
    static __m512 multiply_add(__m512 sum, Vector one, Vector other) { return _mm512_fmadd_ps(one, other, sum); }
    static Element ones() { return 1.0f; }
    static void put(Element& place, int64_t, float value) { place = value; }
};

#ifdef __AVX512BF16__
#define FLYWEIGHT_CONVOLVES_BFLOAT16 1
struct Bfloats {
    using Value = bfloat16;
    using Element = uint32_t;
    static constexpr int64_t per_element = 2;
    using Vector = __m512i;
    static Vector vector(const Element* place) { return _mm512_loadu_si512(place); }
    static Vector spread(Element x) { return _mm512_set1_epi32(static_cast<int32_t>(x)); }
    static __m512 multiply_add(__m512 sum, Vector one, Vector other) {
        return _mm512_dpbf16_ps(sum, (__m512bh)one, (__m512bh)other);
    }
    static Element ones() { return 0x3f803f80u; }
    static void put(Element& place, int64_t half, float value) {
        bfloat16 narrow;
        store(narrow, value);
        place |= static_cast<uint32_t>(narrow.bits) << (16 * half);
    }
};
#endif

// An image (H, W, C) with its border of zeros; the channels are filled up to whole elements.
template <class Ops>
class Framed {
  public:
    using Value = typename Ops::Value;
    using Element = typename Ops::Element;
    explicit Framed(const Shape& shape)
        : shape_(shape), elements_((shape.in + Ops::per_element - 1) / Ops::per_element),
          pitch_(shape.framed_width() * elements_), all_(shape.framed_height() * pitch_ + LANES, Element{}) {}
    void fill(const Value* image) {
        const int64_t row = shape_.width * shape_.in;
        for (int64_t h = 0; h < shape_.height; ++h) {
            Value* to = reinterpret_cast<Value*>(&all_[(h + shape_.padding) * pitch_ + shape_.padding * elements_]);
            if (elements_ * Ops::per_element == shape_.in) {
                std::memcpy(static_cast<void*>(to), image + h * row, row * sizeof(Value));
                continue;
            }
            for (int64_t w = 0; w < shape_.width; ++w)
                std::memcpy(static_cast<void*>(to + w * elements_ * Ops::per_element), image + h * row + w * shape_.in,
                            shape_.in * sizeof(Value));
        }
    }
    const Element* row(int64_t h) const { return &all_[h * pitch_]; }
    int64_t elements() const { return elements_; }
    int64_t pitch() const { return pitch_; }

  private:
    Shape shape_;
    int64_t elements_, pitch_;
    std::vector<Element> all_;
};

// Weights by (row of the kernel, column and input channel, output channel), whole vectors of the last. `weights` is
// (out, in, k, k), or its transpose turned by half a turn for the way back to the input.
template <class Ops>
std::vector<typename Ops::Element> packed(const float* weights, const Shape& shape, bool is_back) {
    const int64_t k = shape.kernel, elements = (shape.in + Ops::per_element - 1) / Ops::per_element;
    const int64_t lanes = shape.vectors() * LANES;
    std::vector<typename Ops::Element> all(k * k * elements * lanes, typename Ops::Element{});
    for (int64_t y = 0; y < k; ++y)
        for (int64_t x = 0; x < k; ++x)
            for (int64_t i = 0; i < shape.in; ++i)
                for (int64_t o = 0; o < shape.out; ++o) {
                    const int64_t from = is_back ? ((i * shape.out + o) * k + (k - 1 - y)) * k + (k - 1 - x)
                                                 : ((o * shape.in + i) * k + y) * k + x;
                    auto& place = all[((y * k + x) * elements + i / Ops::per_element) * lanes + o];
                    Ops::put(place, i % Ops::per_element, weights[from]);
                }
    return all;
}

// R neighbouring places of a row of the output, V vectors of channels each.
template <class Ops, int R, int V>
void places(const typename Ops::Element* in, int64_t pitch, int64_t kernel, int64_t elements,
            const typename Ops::Element* weights, const float* bias, float* out, int64_t channels) {
    __m512 sums[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sums[r][v] = _mm512_loadu_ps(bias + v * LANES);
    const int64_t depth = kernel * elements;
    for (int64_t y = 0; y < kernel; ++y, in += pitch) {
        // Three places to a base and three indices: a pointer per place would not fit the registers.
        const typename Ops::Element* base[(R + 2) / 3];
        for (int g = 0; g < (R + 2) / 3; ++g) base[g] = in + 3 * g * elements;
        for (int64_t t = 0; t < depth; ++t, weights += V * LANES) {
            int64_t index[3] = {t, t + elements, t + 2 * elements};
            __asm__("" : "+r"(index[0]), "+r"(index[1]), "+r"(index[2]));
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
                for (int v = 0; v < V; ++v)
                    sums[r][v] = Ops::multiply_add(sums[r][v], Ops::spread(base[r / 3][index[r % 3]]),
                                                   Ops::vector(weights + v * LANES));
        }
    }
    // Whole vectors reach into the next place, which is written after.
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) _mm512_storeu_ps(out + r * channels + v * LANES, sums[r][v]);
}

// The same for kernels of three and one vector: each value that is read is used by all three columns of the kernel,
// since loading would take longer than multiplying.
template <class Ops, int R>
void places_of_three(const typename Ops::Element* in, int64_t pitch, int64_t, int64_t elements,
                     const typename Ops::Element* weights, const float* bias, float* out, int64_t channels) {
    __m512 sums[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sums[r] = _mm512_loadu_ps(bias);
    for (int64_t y = 0; y < 3; ++y, in += pitch, weights += 3 * elements * LANES) {
        const typename Ops::Element* base[(R + 4) / 3];
        for (int g = 0; g < (R + 4) / 3; ++g) base[g] = in + 3 * g * elements;
        for (int64_t t = 0; t < elements; ++t) {
            int64_t index[3] = {t, t + elements, t + 2 * elements};
            __asm__("" : "+r"(index[0]), "+r"(index[1]), "+r"(index[2]));
            const auto left = Ops::vector(weights + index[0] * LANES), middle = Ops::vector(weights + index[1] * LANES),
                       right = Ops::vector(weights + index[2] * LANES);
#pragma GCC unroll 18
            for (int q = 0; q < R + 2; ++q) {
                const auto x = Ops::spread(base[q / 3][index[q % 3]]);
                if (q < R) sums[q] = Ops::multiply_add(sums[q], x, left);
                if (q >= 1 && q <= R) sums[q - 1] = Ops::multiply_add(sums[q - 1], x, middle);
                if (q >= 2) sums[q - 2] = Ops::multiply_add(sums[q - 2], x, right);
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) _mm512_storeu_ps(out + r * channels, sums[r]);
}

// Sums over places of input times gradient, for T neighbouring (column, input channel) and V vectors of channels.
template <class Ops, int T, int V>
void products(const typename Ops::Element* in, int64_t in_pitch, int64_t in_step, const typename Ops::Element* dy,
              int64_t dy_pitch, int64_t dy_step, int64_t rows, int64_t steps, float* out) {
    __m512 sums[T][V];
#pragma GCC unroll 16
    for (int j = 0; j < T; ++j)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sums[j][v] = _mm512_loadu_ps(out + (j * V + v) * LANES);
    for (int64_t y = 0; y < rows; ++y, in += in_pitch, dy += dy_pitch) {
        const typename Ops::Element *here = in, *gradient = dy;
        for (int64_t x = 0; x < steps; ++x, here += in_step, gradient += dy_step) {
#pragma GCC unroll 16
            for (int j = 0; j < T; ++j)
#pragma GCC unroll 4
                for (int v = 0; v < V; ++v)
                    sums[j][v] =
                        Ops::multiply_add(sums[j][v], Ops::spread(here[j]), Ops::vector(gradient + v * LANES));
        }
    }
#pragma GCC unroll 16
    for (int j = 0; j < T; ++j)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) _mm512_storeu_ps(out + (j * V + v) * LANES, sums[j][v]);
}

// The functions above for 1 to 14 places, as many as the registers hold, to choose from while running.
constexpr int MOST = 14;

template <class Ops, int V>
struct Table {
    using Element = typename Ops::Element;
    using Places = void (*)(const Element*, int64_t, int64_t, int64_t, const Element*, const float*, float*, int64_t);
    using Products = void (*)(const Element*, int64_t, int64_t, const Element*, int64_t, int64_t, int64_t, int64_t,
                              float*);
    static constexpr int most = MAX_SUMS / V < MOST ? MAX_SUMS / V : MOST;
    template <size_t... R>
    static std::array<Places, sizeof...(R)> all_places(std::index_sequence<R...>) {
        return {&places<Ops, R + 1, V>...};
    }
    template <size_t... R>
    static std::array<Places, sizeof...(R)> all_places_of_three(std::index_sequence<R...>) {
        return {&places_of_three<Ops, R + 1>...};
    }
    template <size_t... T>
    static std::array<Products, sizeof...(T)> all_products(std::index_sequence<T...>) {
        return {&products<Ops, T + 1, V>...};
    }
};

// How many at once cover `count` with the least work, where the last block may overlap the one before.
inline int64_t block_of(int64_t count, int64_t most) {
    int64_t best = 1, least = INT64_MAX;
    for (int64_t r = std::min(count, most); r >= 1; --r) {
        const int64_t blocks = (count + r - 1) / r, work = blocks * (r + 2);
        if (work < least) best = r, least = work;
    }
    return best;
}

template <class Ops, int V>
void convolve_by(const typename Ops::Value* x, typename Ops::Value* y, const float* weights, const float* bias,
                 int64_t n, const Shape& shape, bool is_back, int32_t threads) {
    static const auto any = Table<Ops, V>::all_places(std::make_index_sequence<Table<Ops, V>::most>{});
    static const auto three = Table<Ops, V>::all_places_of_three(std::make_index_sequence<Table<Ops, V>::most>{});
    const auto all = packed<Ops>(weights, shape, is_back);
    std::vector<float> start(V * LANES, 0.0f);
    if (bias) std::copy(bias, bias + shape.out, start.begin());
    const int64_t width = shape.out_width(), height = shape.out_height();
    const int64_t block = block_of(width, Table<Ops, V>::most);
    const auto function = (V == 1 && shape.kernel == 3 ? three : any)[block - 1];
    const int64_t images = images_per_chunk(height * width * shape.out);
    in_parallel((n + images - 1) / images, n * height * width * shape.out, threads, [&](int64_t chunk) {
        Framed<Ops> framed(shape);
        std::vector<float> line(width * shape.out + V * LANES);
        for (int64_t i = chunk * images; i < std::min(n, (chunk + 1) * images); ++i) {
            framed.fill(x + i * shape.height * shape.width * shape.in);
            for (int64_t h = 0; h < height; ++h) {
                for (int64_t first = 0; first < width; first += block) {
                    const int64_t w = std::min(first, width - block);
                    function(framed.row(h) + w * framed.elements(), framed.pitch(), shape.kernel, framed.elements(),
                             all.data(), start.data(), line.data() + w * shape.out, shape.out);
                }
                convert(line.data(), y + (i * height + h) * width * shape.out, width * shape.out);
            }
        }
    });
}

// Some rows of an image with a border of zeros, few enough for the first-level cache. Each value of bfloat16 is paired
// with that of the next place, as it is multiplied; a float is alone.
template <class Ops>
class RowsInPairs {
  public:
    using Value = typename Ops::Value;
    using Element = typename Ops::Element;
    RowsInPairs(int64_t height, int64_t width, int64_t channels, int64_t border, int64_t pitch, int64_t most)
        : height_(height), width_(width), channels_(channels), border_(border), pitch_(pitch),
          line_(pitch + channels, Value{}), all_(most * pitch + LANES * MAX_VECTORS, Element{}) {}
    // Rows from `top` on, which may lie above or below the image.
    void fill(const Value* image, int64_t top, int64_t rows) {
        const int64_t values = width_ * channels_;
        for (int64_t h = 0; h < rows; ++h) {
            Element* to = &all_[h * pitch_];
            if (top + h < 0 || top + h >= height_) {
                std::fill(to, to + pitch_, Element{});
                continue;
            }
            std::memcpy(static_cast<void*>(&line_[border_ * channels_]), image + (top + h) * values,
                        values * sizeof(Value));
            pair(line_.data(), channels_, pitch_, to);
        }
    }
    const Element* row(int64_t h) const { return &all_[h * pitch_]; }

  private:
    static void pair(const float* from, int64_t, int64_t values, float* to) {
        std::memcpy(to, from, values * sizeof(float));
    }
    static void pair(const bfloat16* __restrict from, int64_t ahead, int64_t values, uint32_t* __restrict to) {
#pragma omp simd
        for (int64_t j = 0; j < values; ++j)
            to[j] = static_cast<uint32_t>(from[j].bits) | static_cast<uint32_t>(from[j + ahead].bits) << 16;
    }
    int64_t height_, width_, channels_, border_, pitch_;
    std::vector<Value> line_;
    std::vector<Element> all_;
};

// Sums over all places of all images. Up to 16 parts of the images are added up apart, then together in their order.
template <class Ops, int V>
void weigh_by(const typename Ops::Value* x, const typename Ops::Value* dy, float* d_weights, float* d_bias, int64_t n,
              const Shape& shape, int32_t threads) {
    using Element = typename Ops::Element;
    constexpr int64_t pair = Ops::per_element, lanes = V * LANES;
    static const auto functions = Table<Ops, V>::all_products(std::make_index_sequence<Table<Ops, V>::most>{});
    const int64_t height = shape.out_height(), width = shape.out_width(), k = shape.kernel, depth = k * shape.in;
    const int64_t block = block_of(depth, Table<Ops, V>::most), steps = (width + pair - 1) / pair;
    const int64_t row = shape.framed_width() * shape.in, dy_row = steps * pair * shape.out;
    const int64_t fitting = FIRST_CACHE_BYTES * 3 / 4 / static_cast<int64_t>(sizeof(Element)) - (k - 1) * row;
    const int64_t rows_at_once = std::clamp<int64_t>(fitting / (row + dy_row), 1, height);
    const int64_t images = std::max<int64_t>(1, (n + 15) / 16), count = (n + images - 1) / images;
    std::vector<std::vector<float>> parts(count);
    in_parallel(count, n * height * width * shape.out * depth, threads, [&](int64_t chunk) {
        std::vector<float>& sums = parts[chunk];
        sums.assign((k * depth + 1) * lanes, 0.0f);
        RowsInPairs<Ops> in(shape.height, shape.width, shape.in, shape.padding, row, rows_at_once + k - 1);
        RowsInPairs<Ops> gradient(height, width, shape.out, 0, dy_row, rows_at_once);
        const Element ones = Ops::ones();
        for (int64_t i = chunk * images; i < std::min(n, (chunk + 1) * images); ++i)
            for (int64_t top = 0; top < height; top += rows_at_once) {
                const int64_t rows = std::min(rows_at_once, height - top);
                in.fill(x + i * shape.height * shape.width * shape.in, top - shape.padding, rows + k - 1);
                gradient.fill(dy + i * height * width * shape.out, top, rows);
                for (int64_t y = 0; y < k; ++y)
                    for (int64_t first = 0; first < depth; first += block)
                        functions[std::min(block, depth - first) - 1](
                            in.row(y) + first, row, pair * shape.in, gradient.row(0), dy_row, pair * shape.out, rows,
                            steps, &sums[(y * depth + first) * lanes]);
                if (d_bias)
                    functions[0](&ones, 0, 0, gradient.row(0), dy_row, pair * shape.out, rows, steps,
                                 &sums[k * depth * lanes]);
            }
    });
    for (int64_t o = 0; o < shape.out; ++o) {
        for (int64_t i = 0; i < shape.in; ++i)
            for (int64_t y = 0; y < k; ++y)
                for (int64_t c = 0; c < k; ++c) {
                    double sum = 0;
                    for (const auto& part : parts) sum += part[(y * depth + c * shape.in + i) * lanes + o];
                    d_weights[((o * shape.in + i) * k + y) * k + c] = static_cast<float>(sum);
                }
        if (d_bias) {
            double sum = 0;
            for (const auto& part : parts) sum += part[k * depth * lanes + o];
            d_bias[o] = static_cast<float>(sum);
        }
    }
}

template <class Ops, int V = 1>
void convolve(const typename Ops::Value* x, typename Ops::Value* y, const float* weights, const float* bias, int64_t n,
              const Shape& shape, bool is_back, int32_t threads) {
    if constexpr (V <= MAX_VECTORS) {
        if (shape.vectors() == V) convolve_by<Ops, V>(x, y, weights, bias, n, shape, is_back, threads);
        else convolve<Ops, V + 1>(x, y, weights, bias, n, shape, is_back, threads);
    }
}

template <class Ops, int V = 1>
void weigh(const typename Ops::Value* x, const typename Ops::Value* dy, float* d_weights, float* d_bias, int64_t n,
           const Shape& shape, int32_t threads) {
    if constexpr (V <= MAX_VECTORS) {
        if (shape.vectors() == V) weigh_by<Ops, V>(x, dy, d_weights, d_bias, n, shape, threads);
        else weigh<Ops, V + 1>(x, dy, d_weights, d_bias, n, shape, threads);
    }
}

#endif

}  // namespace

// The parts of a training step that torch runs one pass at a time on a processor, each as one or two passes here:
// batch norm with what follows it (activation, 2 x 2 max pooling), max pooling alone, dropout, and the warp of a batch.
//
// Activations are (N, H, W, C) in memory ("channels last"), float or bfloat16; sums are kept in float per lane and
// combined in double. Work is cut into chunks by the shape alone and combined in their order, so the bits of a result do
// not depend on the number of threads.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace {

constexpr int64_t LANES = 16;
// Values per chunk: small enough to stay in a core's second-level cache between two passes.
constexpr int64_t CHUNK_VALUES = 1 << 15;
// Below so many values, waking a second thread takes longer than the work.
constexpr int64_t SERIAL_VALUES = 1 << 15;

struct bfloat16 {
    uint16_t bits;
};

inline float load(float value) { return value; }

inline float load(bfloat16 value) {
    const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
}

inline int32_t load(int32_t value) { return value; }
inline int32_t load(uint8_t value) { return value; }
inline void store(float& place, float value) { place = value; }
inline void store(float& place, int32_t value) { place = static_cast<float>(value); }
inline void store(int32_t& place, int32_t value) { place = value; }
inline void store(uint8_t& place, int32_t value) { place = static_cast<uint8_t>(value); }

// Round to nearest, ties to even, as torch does; not-a-number stays one.
inline void store(bfloat16& place, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    place.bits = static_cast<uint16_t>(value == value ? rounded : 0x7fc0u);
}

// exp(x) within two units in the last place (Cody and Waite reduction, polynomial of degree 6), in a form that vectorises.
inline float exponential(float x) {
    x = std::min(88.0f, std::max(-87.0f, x));
    const float n = std::nearbyint(x * 1.44269504f);
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return p * power;
}

// An activation gives its value and its slope at z.
struct Identity {
    float operator()(float z) const { return z; }
    float slope(float) const { return 1.0f; }
};

struct LeakyRelu {
    float below;  // 0 for relu
    float operator()(float z) const { return z > 0 ? z : below == 0 ? (z != z ? z : 0.0f) : below * z; }
    float slope(float z) const { return z > 0 ? 1.0f : below; }
};

struct Silu {
    float operator()(float z) const { return z / (1.0f + exponential(-z)); }
    float slope(float z) const {
        const float sigmoid = 1.0f / (1.0f + exponential(-z));
        return sigmoid * (1.0f + z * (1.0f - sigmoid));
    }
};

template <class Body>
void with_activation(int32_t kind, float slope, Body body) {
    if (kind == 0) body(Identity{});
    else if (kind == 1) body(LeakyRelu{slope});
    else body(Silu{});
}

template <class Body>
void in_parallel(int64_t count, int64_t values, int32_t threads, Body body) {
    (void)threads;
    (void)values;
#ifdef _OPENMP
    const int team = values < SERIAL_VALUES ? 1 : static_cast<int>(std::min<int64_t>(threads, count));
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
#endif
    for (int64_t index = 0; index < count; ++index) body(index);
}

// Per-channel numbers repeated until they fill whole vectors, so that a loop over flat memory needs no channel index.
class Tile {
  public:
    explicit Tile(int64_t channels) : channels_(channels), pixels_(1) {
        while (pixels_ * channels % LANES) ++pixels_;
    }
    int64_t pixels() const { return pixels_; }
    int64_t length() const { return pixels_ * channels_; }
    std::vector<float> repeated(const float* values) const {
        std::vector<float> all(length());
        for (int64_t j = 0; j < length(); ++j) all[j] = values[j % channels_];
        return all;
    }

  private:
    int64_t channels_, pixels_;
};

// body(offset, length): whole tiles of a flat range of pixels, and a shorter last one.
template <class Body>
inline void by_tiles(const Tile& tile, int64_t values, Body body) {
    const int64_t length = tile.length();
    int64_t at = 0;
    for (; at + length <= values; at += length) body(at, length);
    if (at < values) body(at, values - at);
}

// The inner loops, over flat memory; as functions of their own, so that the compiler knows that nothing overlaps.

template <class T, class Y, class Activation>
void activate(const T* __restrict x, Y* __restrict y, const float* __restrict scale, const float* __restrict shift,
              int64_t n, Activation activation) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) store(y[j], activation(load(x[j]) * scale[j] + shift[j]));
}

template <class T, class G, class Activation>
void add_sums(const T* __restrict x, const G* __restrict dy, const float* __restrict scale,
              const float* __restrict shift, const float* __restrict mean, float* __restrict sum_dz,
              float* __restrict sum_dzx, int64_t n, Activation activation) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) {
        const float value = load(x[j]);
        const float dz = load(dy[j]) * activation.slope(value * scale[j] + shift[j]);
        sum_dz[j] += dz;
        sum_dzx[j] += dz * (value - mean[j]);
    }
}

template <class T, class G, class Activation>
void set_gradient(const T* __restrict x, const G* __restrict dy, T* __restrict dx, const float* __restrict scale,
                  const float* __restrict shift, const float* __restrict mean, const float* __restrict p,
                  const float* __restrict q, const float* __restrict r, int64_t n, Activation activation) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) {
        const float value = load(x[j]);
        const float dz = load(dy[j]) * activation.slope(value * scale[j] + shift[j]);
        store(dx[j], p[j] * dz + (q[j] * (value - mean[j]) + r[j]));
    }
}

template <class From, class To>
void convert(const From* __restrict from, To* __restrict to, int64_t n) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) store(to[j], load(from[j]));
}

int64_t images_per_chunk(int64_t values_per_image) { return std::max<int64_t>(1, CHUNK_VALUES / values_per_image); }

// ---------------------------------------------------------------------------------------------------------------------
// Mean and variance of each channel.

// Two passes over a chunk while it is in the cache; chunks are joined by Chan, Golub and LeVeque (1979).
template <class T>
void moments(const T* x, int64_t pixels, int64_t channels, float* mean, float* variance, int32_t threads) {
    const Tile tile(channels);
    const int64_t chunk = std::max<int64_t>(tile.pixels(), CHUNK_VALUES / tile.length() * tile.pixels());
    const int64_t count = (pixels + chunk - 1) / chunk;
    std::vector<double> means(count * channels), squares(count * channels);
    in_parallel(count, pixels * channels, threads, [&](int64_t c) {
        const int64_t n = std::min(chunk, pixels - c * chunk);
        const T* part = x + c * chunk * channels;
        std::vector<float> sums(tile.length(), 0.0f), centre(tile.length());
        by_tiles(tile, n * channels, [&](int64_t at, int64_t length) {
#pragma omp simd
            for (int64_t j = 0; j < length; ++j) sums[j] += load(part[at + j]);
        });
        std::vector<double> total(channels, 0.0);
        for (int64_t j = 0; j < tile.length(); ++j) total[j % channels] += sums[j];
        for (int64_t j = 0; j < tile.length(); ++j) centre[j] = static_cast<float>(total[j % channels] / n);
        std::fill(sums.begin(), sums.end(), 0.0f);
        by_tiles(tile, n * channels, [&](int64_t at, int64_t length) {
#pragma omp simd
            for (int64_t j = 0; j < length; ++j) {
                const float d = load(part[at + j]) - centre[j];
                sums[j] += d * d;
            }
        });
        for (int64_t k = 0; k < channels; ++k) means[c * channels + k] = centre[k];
        for (int64_t j = 0; j < tile.length(); ++j) squares[c * channels + j % channels] += sums[j];
        // The rounded centre is not quite the mean: what is left over is exact to first order.
        for (int64_t k = 0; k < channels; ++k) {
            const double rest = total[k] / n - centre[k];
            squares[c * channels + k] -= n * rest * rest;
            means[c * channels + k] += rest;
        }
    });
    for (int64_t k = 0; k < channels; ++k) {
        double m = 0, s = 0, seen = 0;
        for (int64_t c = 0; c < count; ++c) {
            const double n = static_cast<double>(std::min(chunk, pixels - c * chunk));
            const double delta = means[c * channels + k] - m;
            s += squares[c * channels + k] + delta * delta * seen * n / (seen + n);
            m += delta * n / (seen + n);
            seen += n;
        }
        mean[k] = static_cast<float>(m);
        variance[k] = static_cast<float>(s / seen);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// y = activation(x * scale + shift), and back.

template <class T>
void affine(const T* x, T* y, int64_t pixels, int64_t channels, const float* scale, const float* shift, int32_t kind,
            float slope, int32_t threads) {
    const Tile tile(channels);
    const std::vector<float> a = tile.repeated(scale), b = tile.repeated(shift);
    const int64_t chunk = std::max<int64_t>(1, CHUNK_VALUES / tile.length()) * tile.pixels();
    with_activation(kind, slope, [&](auto activation) {
        in_parallel((pixels + chunk - 1) / chunk, pixels * channels, threads, [&](int64_t c) {
            const int64_t first = c * chunk * channels, n = std::min(chunk, pixels - c * chunk);
            by_tiles(tile, n * channels, [&](int64_t at, int64_t length) {
                activate(x + first + at, y + first + at, a.data(), b.data(), length, activation);
            });
        });
    });
}

// Sums that the gradient of batch norm needs: of dz and of dz * x, where dz = dy * activation'(z).
struct Sums {
    std::vector<float> dz, dzx;
    explicit Sums(int64_t length) : dz(length, 0.0f), dzx(length, 0.0f) {}
};

void join(const std::vector<Sums>& parts, int64_t channels, double* sum_dz, double* sum_dzx) {
    std::fill(sum_dz, sum_dz + channels, 0.0);
    std::fill(sum_dzx, sum_dzx + channels, 0.0);
    for (const Sums& part : parts)
        for (size_t j = 0; j < part.dz.size(); ++j) {
            sum_dz[j % channels] += part.dz[j];
            sum_dzx[j % channels] += part.dzx[j];
        }
}

// What turns dz and x into dx: dx = p dz + q (x - mean) + r, and the gradients of weight and bias.
struct Back {
    std::vector<float> p, q, r, centre;
};

Back back_through(int64_t channels, double pixels, const float* weight, const float* mean, const float* rstd,
                  const double* sum_dz, const double* sum_dzx, float* d_weight, float* d_bias) {
    Back back{std::vector<float>(channels), std::vector<float>(channels), std::vector<float>(channels),
              std::vector<float>(mean, mean + channels)};
    for (int64_t k = 0; k < channels; ++k) {
        const double scale = (weight ? static_cast<double>(weight[k]) : 1.0) * rstd[k];
        const double with_x_hat = sum_dzx[k] * rstd[k];
        back.p[k] = static_cast<float>(scale);
        back.q[k] = static_cast<float>(-scale * rstd[k] * with_x_hat / pixels);
        back.r[k] = static_cast<float>(-scale * sum_dz[k] / pixels);
        d_weight[k] = static_cast<float>(with_x_hat);
        d_bias[k] = static_cast<float>(sum_dz[k]);
    }
    return back;
}

template <class T>
void affine_backward(const T* x, const T* dy, T* dx, int64_t pixels, int64_t channels, const float* weight,
                     const float* mean, const float* rstd, const float* scale, const float* shift, float* d_weight,
                     float* d_bias, int32_t kind, float slope, int32_t threads) {
    const Tile tile(channels);
    const std::vector<float> a = tile.repeated(scale), b = tile.repeated(shift), m = tile.repeated(mean);
    const int64_t chunk = std::max<int64_t>(1, CHUNK_VALUES / tile.length()) * tile.pixels();
    const int64_t count = (pixels + chunk - 1) / chunk;
    with_activation(kind, slope, [&](auto activation) {
        std::vector<Sums> parts(count, Sums(tile.length()));
        in_parallel(count, pixels * channels, threads, [&](int64_t c) {
            const int64_t first = c * chunk * channels, n = std::min(chunk, pixels - c * chunk);
            by_tiles(tile, n * channels, [&](int64_t at, int64_t length) {
                add_sums(x + first + at, dy + first + at, a.data(), b.data(), m.data(), parts[c].dz.data(),
                         parts[c].dzx.data(), length, activation);
            });
        });
        std::vector<double> sum_dz(channels), sum_dzx(channels);
        join(parts, channels, sum_dz.data(), sum_dzx.data());
        const Back back = back_through(channels, static_cast<double>(pixels), weight, mean, rstd, sum_dz.data(),
                                       sum_dzx.data(), d_weight, d_bias);
        const std::vector<float> p = tile.repeated(back.p.data()), q = tile.repeated(back.q.data()),
                                 r = tile.repeated(back.r.data());
        in_parallel(count, pixels * channels, threads, [&](int64_t c) {
            const int64_t first = c * chunk * channels, n = std::min(chunk, pixels - c * chunk);
            by_tiles(tile, n * channels, [&](int64_t at, int64_t length) {
                set_gradient(x + first + at, dy + first + at, dx + first + at, a.data(), b.data(), m.data(), p.data(),
                             q.data(), r.data(), length, activation);
            });
        });
    });
}

// ---------------------------------------------------------------------------------------------------------------------
// 2 x 2 max pooling, alone or after batch norm and activation. An odd last row or column is left out, as torch does.

// Each of LANES channels: the largest of four values and which it is, the first of equals; not-a-number wins.
inline void best_of_four(const float* __restrict v0, const float* __restrict v1, const float* __restrict v2,
                         const float* __restrict v3, float* __restrict best, int32_t* __restrict place) {
#pragma omp simd
    for (int64_t k = 0; k < LANES; ++k) {
        float value = v0[k];
        int32_t index = 0;
        const auto consider = [&](float other, int32_t number) {
            const bool is_better = other > value || other != other;
            value = is_better ? other : value;
            index = is_better ? number : index;
        };
        consider(v1[k], 1);
        consider(v2[k], 2);
        consider(v3[k], 3);
        best[k] = value;
        place[k] = index;
    }
}

inline void where_equal(const float* __restrict values, const int32_t* __restrict place, int32_t number,
                        float* __restrict out) {
#pragma omp simd
    for (int64_t k = 0; k < LANES; ++k) out[k] = place[k] == number ? values[k] : 0.0f;
}

// Two rows of activated values in, one row of maxima and their places (0..3, the first of equals) out. All rows have
// LANES spare values at their end, so that a pixel's channels may be handled in whole vectors.
struct PoolRows {
    std::vector<float> upper, lower, best;
    std::vector<int32_t> place;
    PoolRows(int64_t width, int64_t channels)
        : upper(width * channels + LANES), lower(width * channels + LANES), best(width / 2 * channels + LANES),
          place(width / 2 * channels + LANES) {}

    void reduce(int64_t width, int64_t channels) {
        for (int64_t w = 0; w < width / 2; ++w)
            for (int64_t block = 0; block < channels; block += LANES) {
                const int64_t left = 2 * w * channels + block, right = left + channels, to = w * channels + block;
                best_of_four(&upper[left], &upper[right], &lower[left], &lower[right], &best[to], &place[to]);
            }
    }

    // The other way: the values of `best` at their places, zeros elsewhere, into `upper` and `lower`. Whole vectors
    // reach into the next pixel, which is written after.
    void spread(int64_t width, int64_t channels) {
        for (int64_t w = 0; w < width / 2; ++w)
            for (int side = 0; side < 2; ++side)
                for (int64_t block = 0; block < channels; block += LANES) {
                    const int64_t from = w * channels + block, to = (2 * w + side) * channels + block;
                    where_equal(&best[from], &place[from], side, &upper[to]);
                    where_equal(&best[from], &place[from], side + 2, &lower[to]);
                }
    }
};

template <class T>
void pool(const T* x, T* y, uint8_t* place, int64_t n, int64_t height, int64_t width, int64_t channels,
          const float* scale, const float* shift, int32_t kind, float slope, int32_t threads) {
    const Tile tile(channels);
    const bool is_plain = scale == nullptr;
    const std::vector<float> none(channels, 0.0f);
    const std::vector<float> a = tile.repeated(is_plain ? none.data() : scale),
                             b = tile.repeated(is_plain ? none.data() : shift);
    const int64_t row = width * channels, out_row = width / 2 * channels, out_height = height / 2;
    const int64_t images = images_per_chunk(height * row);
    with_activation(kind, slope, [&](auto activation) {
        in_parallel((n + images - 1) / images, n * height * row, threads, [&](int64_t c) {
            PoolRows rows(width, channels);
            const int64_t first = c * images * out_height, last = std::min(n, (c + 1) * images) * out_height;
            for (int64_t line = first; line < last; ++line) {
                const T* upper = x + (line / out_height * height + line % out_height * 2) * row;
                for (int half = 0; half < 2; ++half) {
                    const T* from = upper + half * row;
                    float* to = half ? rows.lower.data() : rows.upper.data();
                    if (is_plain) {
                        convert(from, to, row);
                    } else {
                        by_tiles(tile, row, [&](int64_t at, int64_t length) {
                            activate(from + at, to + at, a.data(), b.data(), length, activation);
                        });
                    }
                }
                rows.reduce(width, channels);
                convert(rows.best.data(), y + line * out_row, out_row);
                convert(rows.place.data(), place + line * out_row, out_row);
            }
        });
    });
}

template <class T>
void read_pooled(PoolRows& rows, const T* dy, const uint8_t* place, int64_t out_row) {
    convert(dy, rows.best.data(), out_row);
    convert(place, rows.place.data(), out_row);
}

template <class T>
void pool_backward(const T* dy, const uint8_t* place, T* dx, int64_t n, int64_t height, int64_t width,
                   int64_t channels, int32_t threads) {
    const int64_t row = width * channels, out_row = width / 2 * channels, out_height = height / 2;
    in_parallel(n, n * height * row, threads, [&](int64_t image) {
        PoolRows rows(width, channels);
        T* to = dx + image * height * row;
        for (int64_t h = 0; h < out_height; ++h) {
            const int64_t line = (image * out_height + h) * out_row;
            read_pooled(rows, dy + line, place + line, out_row);
            rows.spread(width, channels);
            for (int half = 0; half < 2; ++half) {
                const float* from = half ? rows.lower.data() : rows.upper.data();
                T* target = to + (2 * h + half) * row;
#pragma omp simd
                for (int64_t j = 0; j < row; ++j) store(target[j], j < 2 * out_row ? from[j] : 0.0f);
            }
        }
        if (height % 2) std::memset(static_cast<void*>(to + (height - 1) * row), 0, row * sizeof(T));
    });
}

// Batch norm, activation and pooling together: only one in four places has a gradient of its own.
template <class T>
void affine_pool_backward(const T* x, const T* dy, const uint8_t* place, T* dx, int64_t n, int64_t height,
                          int64_t width, int64_t channels, const float* weight, const float* mean, const float* rstd,
                          const float* scale, const float* shift, float* d_weight, float* d_bias, int32_t kind,
                          float slope, int32_t threads) {
    const Tile tile(channels);
    const std::vector<float> a = tile.repeated(scale), b = tile.repeated(shift), m = tile.repeated(mean);
    const int64_t row = width * channels, out_row = width / 2 * channels, out_height = height / 2;
    const int64_t images = images_per_chunk(height * row), count = (n + images - 1) / images;
    // body(values, gradients before the activation, first value): each row of the chunk's images.
    const auto each_row = [&](int64_t c, auto body) {
        PoolRows rows(width, channels);
        const std::vector<float> nothing(row, 0.0f);
        for (int64_t image = c * images; image < std::min(n, (c + 1) * images); ++image) {
            for (int64_t h = 0; h < out_height; ++h) {
                const int64_t line = (image * out_height + h) * out_row;
                read_pooled(rows, dy + line, place + line, out_row);
                rows.spread(width, channels);
                std::fill(rows.upper.begin() + 2 * out_row, rows.upper.end(), 0.0f);
                std::fill(rows.lower.begin() + 2 * out_row, rows.lower.end(), 0.0f);
                body((image * height + 2 * h) * row, rows.upper.data());
                body((image * height + 2 * h + 1) * row, rows.lower.data());
            }
            if (height % 2) body((image * height + height - 1) * row, nothing.data());
        }
    };
    with_activation(kind, slope, [&](auto activation) {
        std::vector<Sums> parts(count, Sums(tile.length()));
        in_parallel(count, n * height * row, threads, [&](int64_t c) {
            each_row(c, [&](int64_t first, const float* gradients) {
                by_tiles(tile, row, [&](int64_t at, int64_t length) {
                    add_sums(x + first + at, gradients + at, a.data(), b.data(), m.data(), parts[c].dz.data(),
                             parts[c].dzx.data(), length, activation);
                });
            });
        });
        std::vector<double> sum_dz(channels), sum_dzx(channels);
        join(parts, channels, sum_dz.data(), sum_dzx.data());
        const Back back = back_through(channels, static_cast<double>(n * height * width), weight, mean, rstd,
                                       sum_dz.data(), sum_dzx.data(), d_weight, d_bias);
        const std::vector<float> p = tile.repeated(back.p.data()), q = tile.repeated(back.q.data()),
                                 r = tile.repeated(back.r.data());
        in_parallel(count, n * height * row, threads, [&](int64_t c) {
            each_row(c, [&](int64_t first, const float* gradients) {
                by_tiles(tile, row, [&](int64_t at, int64_t length) {
                    set_gradient(x + first + at, gradients + at, dx + first + at, a.data(), b.data(), m.data(),
                                 p.data(), q.data(), r.data(), length, activation);
                });
            });
        });
    });
}

// What `norm` leaves for the way back, a row of `channels` values each.
struct Saved {
    float *mean, *rstd, *scale, *shift;
    Saved(float* values, int64_t channels)
        : mean(values), rstd(values + channels), scale(values + 2 * channels), shift(values + 3 * channels) {}
};

// Batch norm (Ioffe and Szegedy 2015) with its activation, and with 2 x 2 max pooling where `place` is given. While
// training by the batch's own mean and variance, which move the running ones (the variance as of a sample, n - 1).
template <class T>
void norm(const T* x, T* y, uint8_t* place, int64_t n, int64_t height, int64_t width, int64_t channels,
          const float* weight, const float* bias, float* running_mean, float* running_variance, bool is_training,
          float momentum, float epsilon, float* values, int32_t kind, float slope, int32_t threads) {
    const Saved saved(values, channels);
    const int64_t pixels = n * height * width;
    std::vector<float> variance(running_variance, running_variance + channels);
    if (is_training) moments(x, pixels, channels, saved.mean, variance.data(), threads);
    else std::copy(running_mean, running_mean + channels, saved.mean);
    for (int64_t k = 0; k < channels; ++k) {
        saved.rstd[k] = 1.0f / std::sqrt(variance[k] + epsilon);
        saved.scale[k] = (weight ? weight[k] : 1.0f) * saved.rstd[k];
        saved.shift[k] = (bias ? bias[k] : 0.0f) - saved.mean[k] * saved.scale[k];
        if (is_training) {
            const float sample = variance[k] * (static_cast<float>(pixels) / static_cast<float>(pixels - 1));
            running_mean[k] += momentum * (saved.mean[k] - running_mean[k]);
            running_variance[k] += momentum * (sample - running_variance[k]);
        }
    }
    if (place) pool(x, y, place, n, height, width, channels, saved.scale, saved.shift, kind, slope, threads);
    else affine(x, y, pixels, channels, saved.scale, saved.shift, kind, slope, threads);
}

template <class T>
void norm_backward(const T* x, const T* dy, const uint8_t* place, T* dx, int64_t n, int64_t height, int64_t width,
                   int64_t channels, const float* weight, float* values, float* d_weight, float* d_bias, int32_t kind,
                   float slope, int32_t threads) {
    const Saved saved(values, channels);
    if (place)
        affine_pool_backward(x, dy, place, dx, n, height, width, channels, weight, saved.mean, saved.rstd, saved.scale,
                             saved.shift, d_weight, d_bias, kind, slope, threads);
    else
        affine_backward(x, dy, dx, n * height * width, channels, weight, saved.mean, saved.rstd, saved.scale,
                        saved.shift, d_weight, d_bias, kind, slope, threads);
}

// ---------------------------------------------------------------------------------------------------------------------
// Dropout: the mask is a function of (seed, index), so that nothing is kept for the way back.

inline uint32_t mixed(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return x;
}

template <class T>
void drop(const T* __restrict x, T* __restrict y, uint32_t first, int64_t n, uint32_t seed, uint32_t threshold,
          float scale) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) {
        const uint32_t draw = mixed(mixed(first + static_cast<uint32_t>(j)) ^ seed);
        store(y[j], draw >= threshold ? load(x[j]) * scale : 0.0f);
    }
}

template <class T>
void dropout(const T* x, T* y, int64_t values, uint32_t seed, uint32_t threshold, float scale, int32_t threads) {
    in_parallel((values + CHUNK_VALUES - 1) / CHUNK_VALUES, values, threads, [&](int64_t c) {
        const int64_t first = c * CHUNK_VALUES, n = std::min(CHUNK_VALUES, values - first);
        drop(x + first, y + first, static_cast<uint32_t>(first), n, seed, threshold, scale);
    });
}

// ---------------------------------------------------------------------------------------------------------------------
// A batch taken from a set of uint8 images, warped and normalised.

// Where to look for each pixel of a row: the corner above and left of it in a frame of background, and how far from
// there. Beyond one pixel outside the image there is only background.
struct Places {
    std::vector<int32_t> corner;
    std::vector<float> right, down;
    explicit Places(int64_t pixels) : corner(pixels), right(pixels), down(pixels) {}
};

inline void look_up(const float* __restrict matrix, const float* __restrict field, int64_t row, int64_t height,
                    int64_t width, int64_t pitch, bool is_nearest, int32_t* __restrict corner, float* __restrict right,
                    float* __restrict down) {
    const float middle_x = 0.5f * (width - 1), middle_y = 0.5f * (height - 1), y = row - middle_y;
    const float first_x = matrix[1] * y + matrix[2] + middle_x, first_y = matrix[4] * y + matrix[5] + middle_y;
    const float step_x = matrix[0], step_y = matrix[3];
    const float most_x = static_cast<float>(width), most_y = static_cast<float>(height);
    const int32_t count = static_cast<int32_t>(width), stride = static_cast<int32_t>(pitch);
#pragma omp simd
    for (int32_t w = 0; w < count; ++w) {
        const float x = static_cast<float>(w) - middle_x;
        float at_x = step_x * x + first_x + (field ? field[2 * w] : 0.0f);
        float at_y = step_y * x + first_y + (field ? field[2 * w + 1] : 0.0f);
        at_x = at_x > -1.0f ? (at_x < most_x ? at_x : most_x) : -1.0f;
        at_y = at_y > -1.0f ? (at_y < most_y ? at_y : most_y) : -1.0f;
        const float left = is_nearest ? __builtin_rintf(at_x) : __builtin_floorf(at_x);
        const float top = is_nearest ? __builtin_rintf(at_y) : __builtin_floorf(at_y);
        right[w] = is_nearest ? 0.0f : at_x - left;
        down[w] = is_nearest ? 0.0f : at_y - top;
        corner[w] = (static_cast<int32_t>(top) + 1) * stride + static_cast<int32_t>(left) + 1;
    }
}

inline void interpolate(const float* __restrict frame, int32_t pitch, const int32_t* __restrict corner,
                        const float* __restrict right, const float* __restrict down, float* __restrict out, int32_t n,
                        float scale, float offset) {
#pragma omp simd
    for (int32_t j = 0; j < n; ++j) {
        const int32_t k = corner[j];
        const float upper = frame[k] + right[j] * (frame[k + 1] - frame[k]);
        const float lower = frame[k + pitch] + right[j] * (frame[k + pitch + 1] - frame[k + pitch]);
        out[j] = (upper + down[j] * (lower - upper)) * scale + offset;
    }
}

inline void pick(const float* __restrict frame, const int32_t* __restrict corner, float* __restrict out, int32_t n,
                 float scale, float offset) {
#pragma omp simd
    for (int32_t j = 0; j < n; ++j) out[j] = frame[corner[j]] * scale + offset;
}

void warp(const uint8_t* images, const int64_t* rows, const float* matrices, const float* field, float* out, int64_t n,
          int64_t channels, int64_t height, int64_t width, const float* scale, const float* offset, bool is_nearest,
          int32_t threads) {
    const int64_t pixels = height * width, pitch = width + 3;
    const int64_t images_at_once = images_per_chunk(channels * pixels);
    in_parallel((n + images_at_once - 1) / images_at_once, n * channels * pixels, threads, [&](int64_t chunk) {
        Places places(pixels);
        std::vector<float> frame((height + 3) * pitch, 0.0f);
        for (int64_t i = chunk * images_at_once; i < std::min(n, (chunk + 1) * images_at_once); ++i) {
            for (int64_t h = 0; h < height; ++h) {
                const int64_t at = h * width;
                look_up(matrices + 6 * i, field ? field + 2 * (i * pixels + at) : nullptr, h, height, width, pitch,
                        is_nearest, &places.corner[at], &places.right[at], &places.down[at]);
            }
            for (int64_t c = 0; c < channels; ++c) {
                const uint8_t* image = images + (rows[i] * channels + c) * pixels;
                for (int64_t h = 0; h < height; ++h) convert(image + h * width, &frame[(h + 1) * pitch + 1], width);
                float* to = out + (i * channels + c) * pixels;
                const int32_t count = static_cast<int32_t>(pixels);
                if (is_nearest)
                    pick(frame.data(), places.corner.data(), to, count, scale[c], offset[c]);
                else
                    interpolate(frame.data(), static_cast<int32_t>(pitch), places.corner.data(), places.right.data(),
                                places.down.data(), to, count, scale[c], offset[c]);
            }
        }
    });
}

}  // namespace

// What Python calls (library.py has the same list). `wide` is 1 for float and 0 for bfloat16.
#define BOTH(NAME, T, ...)              \
    {                                   \
        if (wide) {                     \
            using T = float;            \
            NAME(__VA_ARGS__);          \
        } else {                        \
            using T = bfloat16;         \
            NAME(__VA_ARGS__);          \
        }                               \
    }
#define IN(T, place) static_cast<const T*>(place)
#define OUT(T, place) static_cast<T*>(place)

extern "C" {

void flyweight_norm(int32_t wide, const void* x, void* y, uint8_t* place, int64_t n, int64_t height, int64_t width,
                    int64_t channels, const float* weight, const float* bias, float* running_mean,
                    float* running_variance, int32_t is_training, float momentum, float epsilon, float* saved,
                    int32_t kind, float slope, int32_t threads)
    BOTH(norm, T, IN(T, x), OUT(T, y), place, n, height, width, channels, weight, bias, running_mean, running_variance,
         is_training != 0, momentum, epsilon, saved, kind, slope, threads)

void flyweight_norm_backward(int32_t wide, const void* x, const void* dy, const uint8_t* place, void* dx, int64_t n,
                             int64_t height, int64_t width, int64_t channels, const float* weight, float* saved,
                             float* d_weight, float* d_bias, int32_t kind, float slope, int32_t threads)
    BOTH(norm_backward, T, IN(T, x), IN(T, dy), place, OUT(T, dx), n, height, width, channels, weight, saved, d_weight,
         d_bias, kind, slope, threads)

void flyweight_pool(int32_t wide, const void* x, void* y, uint8_t* place, int64_t n, int64_t height, int64_t width,
                    int64_t channels, int32_t threads)
    BOTH(pool, T, IN(T, x), OUT(T, y), place, n, height, width, channels, nullptr, nullptr, 0, 0.0f, threads)

void flyweight_pool_backward(int32_t wide, const void* dy, const uint8_t* place, void* dx, int64_t n, int64_t height,
                             int64_t width, int64_t channels, int32_t threads)
    BOTH(pool_backward, T, IN(T, dy), place, OUT(T, dx), n, height, width, channels, threads)

void flyweight_dropout(int32_t wide, const void* x, void* y, int64_t values, uint32_t seed, uint32_t threshold,
                       float scale, int32_t threads)
    BOTH(dropout, T, IN(T, x), OUT(T, y), values, seed, threshold, scale, threads)

void flyweight_warp(const uint8_t* images, const int64_t* rows, const float* matrices, const float* field, float* out,
                    int64_t n, int64_t channels, int64_t height, int64_t width, const float* scale,
                    const float* offset, int32_t is_nearest, int32_t threads) {
    warp(images, rows, matrices, field, out, n, channels, height, width, scale, offset, is_nearest != 0, threads);
}
}

// Numbers as they lie in memory, work in parallel, and flat loops over channels-last images.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

constexpr int64_t LANES = 16;
// Values per chunk: small enough to stay in a core's second-level cache between two passes.
constexpr int64_t CHUNK_VALUES = 1 << 15;
// Values a tile has at least, where channels are few: enough work for one call of an inner loop.
constexpr int64_t TILE_VALUES = 256;
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
        pixels_ *= std::max<int64_t>(1, TILE_VALUES / length());
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

// out[j] = value(j); bfloat16 by way of a few vectors of float, since the processor rounds whole vectors at once.
template <class To, class Value>
inline void fill(To* __restrict out, int64_t n, Value value) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) store(out[j], value(j));
}

#ifdef __AVX512BF16__
template <class Value>
inline void fill(bfloat16* __restrict out, int64_t n, Value value) {
    constexpr int64_t most = 16 * LANES;
    alignas(64) float block[most];
    for (int64_t first = 0; first < n; first += most) {
        const int64_t count = std::min(most, n - first);
#pragma omp simd
        for (int64_t j = 0; j < count; ++j) block[j] = value(first + j);
        int64_t j = 0;
        for (; j + LANES <= count; j += LANES) {
            const __m256bh narrow = _mm512_cvtneps_pbh(_mm512_load_ps(block + j));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + first + j), (__m256i)narrow);
        }
        for (; j < count; ++j) store(out[first + j], block[j]);
    }
}
#endif

template <class From, class To>
inline void convert(const From* __restrict from, To* __restrict to, int64_t n) {
    fill(to, n, [=](int64_t j) { return load(from[j]); });
}

inline int64_t images_per_chunk(int64_t values_per_image) { return std::max<int64_t>(1, CHUNK_VALUES / values_per_image); }

}  // namespace

// Dropout: the mask is a function of (seed, index), so that nothing is kept for the way back.
#pragma once

#include "common.hpp"

namespace {

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
    fill(y, n, [=](int64_t j) {
        const uint32_t draw = mixed(mixed(first + static_cast<uint32_t>(j)) ^ seed);
        return draw >= threshold ? load(x[j]) * scale : 0.0f;
    });
}

template <class T>
void dropout(const T* x, T* y, int64_t values, uint32_t seed, uint32_t threshold, float scale, int32_t threads) {
    in_parallel((values + CHUNK_VALUES - 1) / CHUNK_VALUES, values, threads, [&](int64_t c) {
        const int64_t first = c * CHUNK_VALUES, n = std::min(CHUNK_VALUES, values - first);
        drop(x + first, y + first, static_cast<uint32_t>(first), n, seed, threshold, scale);
    });
}

}  // namespace

// 2 x 2 max pooling, alone or after an affine map and an activation; an odd last row or column is left out, as torch does.
#pragma once

#include "activation.hpp"
#include "common.hpp"

namespace {

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
                convert(from, target, 2 * out_row);
                std::memset(static_cast<void*>(target + 2 * out_row), 0, (row - 2 * out_row) * sizeof(T));
            }
        }
        if (height % 2) std::memset(static_cast<void*>(to + (height - 1) * row), 0, row * sizeof(T));
    });
}

}  // namespace

// A batch taken from a set of uint8 images, warped and normalised; fill is the background of each channel.
#pragma once

#include "common.hpp"

namespace {

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
          int64_t channels, int64_t height, int64_t width, const float* fill, const float* scale, const float* offset,
          bool is_nearest, int32_t threads) {
    const int64_t pixels = height * width, pitch = width + 3;
    const int64_t images_at_once = images_per_chunk(channels * pixels);
    in_parallel((n + images_at_once - 1) / images_at_once, n * channels * pixels, threads, [&](int64_t chunk) {
        Places places(pixels);
        float ground = 0.0f;
        std::vector<float> frame((height + 3) * pitch, ground);
        for (int64_t i = chunk * images_at_once; i < std::min(n, (chunk + 1) * images_at_once); ++i) {
            for (int64_t h = 0; h < height; ++h) {
                const int64_t at = h * width;
                look_up(matrices + 6 * i, field ? field + 2 * (i * pixels + at) : nullptr, h, height, width, pitch,
                        is_nearest, &places.corner[at], &places.right[at], &places.down[at]);
            }
            for (int64_t c = 0; c < channels; ++c) {
                if (fill[c] != ground) std::fill(frame.begin(), frame.end(), ground = fill[c]);
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

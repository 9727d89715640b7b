// The parts of a training step that torch runs one pass at a time on a processor, each as one or two passes here:
// batch norm with what follows it (activation, 2 x 2 max pooling), max pooling alone, dropout, and the warp of a batch.
//
// Activations are (N, H, W, C) in memory ("channels last"), float or bfloat16; sums are kept in float per lane and
// combined in double. Work is cut into chunks by the shape alone and combined in their order, so the bits of a result do
// not depend on the number of threads.

#include <cstdint>

#include "dropout.hpp"
#include "normalisation.hpp"
#include "pooling.hpp"
#include "warping.hpp"

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
                    int64_t n, int64_t channels, int64_t height, int64_t width, const float* fill,
                    const float* scale, const float* offset, int32_t is_nearest, int32_t threads) {
    warp(images, rows, matrices, field, out, n, channels, height, width, fill, scale, offset, is_nearest != 0,
         threads);
}
}

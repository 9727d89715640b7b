// What Python calls of the convolutions (library.py has the same list), in a file of its own since it takes longest to
// compile. `wide` is 1 for float and 0 for bfloat16.

#include "convolution.hpp"

#include <cstdint>

#define IN(T, place) static_cast<const T*>(place)
#define OUT(T, place) static_cast<T*>(place)

extern "C" {

// Whether this processor has convolutions of ours, for float (wide) or bfloat16.
int32_t flyweight_convolves(int32_t wide) {
#if defined(FLYWEIGHT_CONVOLVES_BFLOAT16)
    return wide == 0 || wide == 1;
#elif defined(FLYWEIGHT_CONVOLVES)
    return wide;
#else
    return wide > 1;
#endif
}

void flyweight_convolve(int32_t wide, const void* x, void* y, const float* weights, const float* bias, int64_t n,
                        int64_t height, int64_t width, int64_t in, int64_t out, int64_t kernel, int64_t padding,
                        int32_t is_back, int32_t threads) {
    [[maybe_unused]] const Shape shape{height, width, in, out, kernel, padding};
#if defined(FLYWEIGHT_CONVOLVES)
    if (wide) convolve<Floats>(IN(float, x), OUT(float, y), weights, bias, n, shape, is_back != 0, threads);
#endif
#if defined(FLYWEIGHT_CONVOLVES_BFLOAT16)
    if (!wide) convolve<Bfloats>(IN(bfloat16, x), OUT(bfloat16, y), weights, bias, n, shape, is_back != 0, threads);
#endif
}

void flyweight_convolve_weights(int32_t wide, const void* x, const void* dy, float* d_weights, float* d_bias, int64_t n,
                                int64_t height, int64_t width, int64_t in, int64_t out, int64_t kernel,
                                int64_t padding, int32_t threads) {
    [[maybe_unused]] const Shape shape{height, width, in, out, kernel, padding};
#if defined(FLYWEIGHT_CONVOLVES)
    if (wide) weigh<Floats>(IN(float, x), IN(float, dy), d_weights, d_bias, n, shape, threads);
#endif
#if defined(FLYWEIGHT_CONVOLVES_BFLOAT16)
    if (!wide) weigh<Bfloats>(IN(bfloat16, x), IN(bfloat16, dy), d_weights, d_bias, n, shape, threads);
#endif
}
}

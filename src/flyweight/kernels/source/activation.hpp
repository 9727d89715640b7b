// Activations that are fused into batch norm: each gives its value and its slope.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "common.hpp"

namespace {

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

// Over flat memory, with one scale and shift per value.
template <class T, class Y, class Activation>
void activate(const T* __restrict x, Y* __restrict y, const float* __restrict scale, const float* __restrict shift,
              int64_t n, Activation activation) {
    fill(y, n, [=](int64_t j) { return activation(load(x[j]) * scale[j] + shift[j]); });
}

}  // namespace

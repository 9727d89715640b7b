// Batch norm with its activation, and with 2 x 2 max pooling behind it.
#pragma once

#include <cmath>

#include "activation.hpp"
#include "common.hpp"
#include "pooling.hpp"

namespace {

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
    fill(dx, n, [=](int64_t j) {
        const float value = load(x[j]);
        const float dz = load(dy[j]) * activation.slope(value * scale[j] + shift[j]);
        return p[j] * dz + (q[j] * (value - mean[j]) + r[j]);
    });
}

// Mean and variance of each channel: two passes over a chunk while it is in the cache; chunks are joined as by Chan,
// Golub and LeVeque (1979).
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
    std::vector<float> p, q, r;
};

Back back_through(int64_t channels, double pixels, const float* weight, const float* rstd, const double* sum_dz,
                  const double* sum_dzx, float* d_weight, float* d_bias) {
    Back back{std::vector<float>(channels), std::vector<float>(channels), std::vector<float>(channels)};
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

// What `norm` leaves for the way back, a row of `channels` values each.
struct Saved {
    float *mean, *rstd, *scale, *shift;
    Saved(float* values, int64_t channels)
        : mean(values), rstd(values + channels), scale(values + 2 * channels), shift(values + 3 * channels) {}
};

// Two passes over all values, cut into `count` parts: for the sums, then for the gradient of x. each(part, body) calls
// body(first value, gradients behind the activation, how many) for the stretches of a part.
template <class T, class Each>
void backward(const T* x, T* dx, int64_t pixels, int64_t channels, int64_t count, const float* weight,
              const Saved& saved, float* d_weight, float* d_bias, int32_t kind, float slope, int32_t threads, Each each) {
    const Tile tile(channels);
    const std::vector<float> a = tile.repeated(saved.scale), b = tile.repeated(saved.shift),
                             m = tile.repeated(saved.mean);
    with_activation(kind, slope, [&](auto activation) {
        std::vector<Sums> parts(count, Sums(tile.length()));
        in_parallel(count, pixels * channels, threads, [&](int64_t part) {
            each(part, [&](int64_t first, const auto* gradients, int64_t values) {
                by_tiles(tile, values, [&](int64_t at, int64_t length) {
                    add_sums(x + first + at, gradients + at, a.data(), b.data(), m.data(), parts[part].dz.data(),
                             parts[part].dzx.data(), length, activation);
                });
            });
        });
        std::vector<double> sum_dz(channels), sum_dzx(channels);
        join(parts, channels, sum_dz.data(), sum_dzx.data());
        const Back back = back_through(channels, static_cast<double>(pixels), weight, saved.rstd, sum_dz.data(),
                                       sum_dzx.data(), d_weight, d_bias);
        const std::vector<float> p = tile.repeated(back.p.data()), q = tile.repeated(back.q.data()),
                                 r = tile.repeated(back.r.data());
        in_parallel(count, pixels * channels, threads, [&](int64_t part) {
            each(part, [&](int64_t first, const auto* gradients, int64_t values) {
                by_tiles(tile, values, [&](int64_t at, int64_t length) {
                    set_gradient(x + first + at, gradients + at, dx + first + at, a.data(), b.data(), m.data(),
                                 p.data(), q.data(), r.data(), length, activation);
                });
            });
        });
    });
}

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

// `dy` is behind the pooling where `place` is given: then only one in four places has a gradient of its own.
template <class T>
void norm_backward(const T* x, const T* dy, const uint8_t* place, T* dx, int64_t n, int64_t height, int64_t width,
                   int64_t channels, const float* weight, float* values, float* d_weight, float* d_bias, int32_t kind,
                   float slope, int32_t threads) {
    const Saved saved(values, channels);
    const int64_t pixels = n * height * width, row = width * channels;
    if (!place) {
        const Tile tile(channels);
        const int64_t chunk = std::max<int64_t>(1, CHUNK_VALUES / tile.length()) * tile.length();
        const int64_t all = pixels * channels;
        backward(x, dx, pixels, channels, (all + chunk - 1) / chunk, weight, saved, d_weight, d_bias, kind, slope,
                 threads, [&](int64_t part, auto body) {
                     body(part * chunk, dy + part * chunk, std::min(chunk, all - part * chunk));
                 });
        return;
    }
    const int64_t out_row = width / 2 * channels, out_height = height / 2, images = images_per_chunk(height * row);
    backward(x, dx, pixels, channels, (n + images - 1) / images, weight, saved, d_weight, d_bias, kind, slope, threads,
             [&](int64_t part, auto body) {
                 PoolRows rows(width, channels);
                 const std::vector<float> nothing(row, 0.0f);
                 for (int64_t image = part * images; image < std::min(n, (part + 1) * images); ++image) {
                     for (int64_t h = 0; h < out_height; ++h) {
                         const int64_t line = (image * out_height + h) * out_row;
                         read_pooled(rows, dy + line, place + line, out_row);
                         rows.spread(width, channels);
                         std::fill(rows.upper.begin() + 2 * out_row, rows.upper.end(), 0.0f);
                         std::fill(rows.lower.begin() + 2 * out_row, rows.lower.end(), 0.0f);
                         body((image * height + 2 * h) * row, rows.upper.data(), row);
                         body((image * height + 2 * h + 1) * row, rows.lower.data(), row);
                     }
                     if (height % 2) body((image * height + height - 1) * row, nothing.data(), row);
                 }
             });
}

}  // namespace

// The loops of RowKernels: kRowKernels in the namespace HONE_KERNELS.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "model/kernels/numbers.inl"
#include "model/kernels/row_kernels.hpp"

namespace hone::detail::HONE_KERNELS {
namespace {

template <typename T>
float rms_norm(const T* __restrict x, const T* __restrict weight, float eps, std::int64_t width,
               T* __restrict out) {
  float squares = 0.0F;
#pragma omp simd reduction(+ : squares)
  for (std::int64_t i = 0; i < width; ++i) squares += load(x[i]) * load(x[i]);
  const float scale = 1.0F / std::sqrt(squares / static_cast<float>(width) + eps);
  for (std::int64_t i = 0; i < width; ++i) {
    out[i] = store<T>(rounded<T>(load(x[i]) * scale) * load(weight[i]));
  }
  return scale;
}

template <typename T>
void rms_norm_backward(const T* __restrict x, const T* __restrict weight, float scale,
                       const T* __restrict gradient, std::int64_t width, T* __restrict x_gradient,
                       float* __restrict weight_gradient) {
  float dot = 0.0F;
#pragma omp simd reduction(+ : dot)
  for (std::int64_t i = 0; i < width; ++i) {
    const float value = load(x[i]), down = load(gradient[i]);
    dot += down * load(weight[i]) * value;
    weight_gradient[i] += down * value * scale;
  }
  const float along = dot * scale * scale * scale / static_cast<float>(width);
  for (std::int64_t i = 0; i < width; ++i) {
    x_gradient[i] =
        store<T>(load(gradient[i]) * load(weight[i]) * scale - load(x[i]) * along);
  }
}

template <typename T>
void swiglu(const T* __restrict gate, const T* __restrict up, std::int64_t count,
            T* __restrict out) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = load(gate[i]);
    out[i] = store<T>(rounded<T>(g * sigmoid(g)) * load(up[i]));
  }
}

template <typename T>
void swiglu_backward(const T* __restrict gate, const T* __restrict up,
                     const T* __restrict gradient, std::int64_t count,
                     T* __restrict gate_gradient, T* __restrict up_gradient) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = load(gate[i]), down = load(gradient[i]), s = sigmoid(g);
    up_gradient[i] = store<T>(down * g * s);
    gate_gradient[i] = store<T>(down * load(up[i]) * s * (1.0F + g * (1.0F - s)));
  }
}

template <typename T>
void rotate(const T* __restrict x, const T* __restrict cos, const T* __restrict sin, float sign,
            std::int64_t heads, std::int64_t half, T* __restrict out) {
  for (std::int64_t head = 0; head < heads; ++head) {
    const T* __restrict low = x + head * 2 * half;
    const T* __restrict high = low + half;
    T* __restrict low_out = out + head * 2 * half;
    T* __restrict high_out = low_out + half;
    for (std::int64_t i = 0; i < half; ++i) {
      const float c = load(cos[i]), s = sign * load(sin[i]);
      const float first = load(low[i]), second = load(high[i]);
      low_out[i] = store<T>(first * c - second * s);
      high_out[i] = store<T>(second * c + first * s);
    }
  }
}

template <typename T>
double cross_entropy(T* __restrict logits, std::int64_t count, std::int64_t target,
                     double smoothing, const double* factor) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (std::int64_t i = 0; i < count; ++i) {
    const float logit = load(logits[i]);
    largest = logit > largest ? logit : largest;
  }
  double all = 0.0, masses = 0.0;
  constexpr std::int64_t kBlock = 1024;  // what float adds up without losing much
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const auto end = std::min(begin + kBlock, count);
    float all_here = 0.0F, masses_here = 0.0F;
#pragma omp simd reduction(+ : all_here, masses_here)
    for (auto i = begin; i < end; ++i) {
      const float below = load(logits[i]) - largest;
      all_here += below;
      masses_here += exp_of_negative(below);
    }
    all += static_cast<double>(all_here);
    masses += static_cast<double>(masses_here);
  }
  const double at_target = static_cast<double>(load(logits[target])) - static_cast<double>(largest);
  const double spread = smoothing > 0 ? smoothing * all / static_cast<double>(count) : 0.0;
  const double loss = std::log(masses) - (1.0 - smoothing) * at_target - spread;
  if (factor == nullptr) return loss;
  const float scale = static_cast<float>(*factor / masses);
  const float even = static_cast<float>(*factor * smoothing / static_cast<double>(count));
  const float of_target = exp_of_negative(load(logits[target]) - largest) * scale - even -
                          static_cast<float>(*factor * (1.0 - smoothing));
  for (std::int64_t i = 0; i < count; ++i) {
    logits[i] = store<T>(exp_of_negative(load(logits[i]) - largest) * scale - even);
  }
  logits[target] = store<T>(of_target);
  return loss;
}

template <typename T>
constexpr RowKernels<T> kRowKernels{.rms_norm = rms_norm<T>,
                                    .rms_norm_backward = rms_norm_backward<T>,
                                    .swiglu = swiglu<T>,
                                    .swiglu_backward = swiglu_backward<T>,
                                    .rotate = rotate<T>,
                                    .cross_entropy = cross_entropy<T>};

}  // namespace

}  // namespace hone::detail::HONE_KERNELS

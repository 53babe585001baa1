// The loops of RowKernels, for whatever processor the including file is compiled for. Defines
// HONE_ROW_KERNELS(T) in the namespace HONE_KERNELS.
#include <bit>
#include <cmath>
#include <cstdint>

#include "model/kernels/row_kernels.hpp"

namespace hone::detail::HONE_KERNELS {
namespace {

inline float load(float stored) { return stored; }
inline float load(std::uint16_t stored) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(stored) << 16);
}

template <typename T>
inline T store(float value);
template <>
inline float store<float>(float value) {
  return value;
}
/// To the nearest, ties to even. Source: as c10::BFloat16.
template <>
inline std::uint16_t store<std::uint16_t>(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  const bool is_nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
  return static_cast<std::uint16_t>(is_nan ? 0x7FC0U : rounded);
}

/// A value as it is once stored.
template <typename T>
inline float rounded(float value) {
  return load(store<T>(value));
}

/// e^x for x <= 0, within two units of the last place. Source: Cephes' expf.
inline float exp_of_negative(float x) {
  const float clipped = x < -87.0F ? -87.0F : x;
  const float whole = std::rint(clipped * 1.44269504F);
  float part = clipped - whole * 0.693359375F;
  part = part - whole * -2.12194440e-4F;
  float series = 1.9875691500e-4F;
  series = series * part + 1.3981999507e-3F;
  series = series * part + 8.3334519073e-3F;
  series = series * part + 4.1665795894e-2F;
  series = series * part + 1.6666665459e-1F;
  series = series * part + 5.0000001201e-1F;
  const float value = series * part * part + part + 1.0F;
  const auto scale = std::bit_cast<float>((static_cast<std::int32_t>(whole) + 127) << 23);
  return x < -87.0F ? 0.0F : value * scale;
}

inline float sigmoid(float x) {
  const float small = exp_of_negative(-std::fabs(x));
  const float of_negative = small / (1.0F + small);
  const float result = x < 0.0F ? of_negative : 1.0F - of_negative;
  return std::isnan(x) ? x : result;
}

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
constexpr RowKernels<T> kTable{.rms_norm = rms_norm<T>,
                               .rms_norm_backward = rms_norm_backward<T>,
                               .swiglu = swiglu<T>,
                               .swiglu_backward = swiglu_backward<T>,
                               .rotate = rotate<T>};

}  // namespace

const RowKernels<float>& of_float() { return kTable<float>; }
const RowKernels<std::uint16_t>& of_bfloat16() { return kTable<std::uint16_t>; }

}  // namespace hone::detail::HONE_KERNELS

// Numbers as they are stored and as they are computed with, one by one and by vectors of the
// processor that the including file is compiled for, in the namespace HONE_KERNELS.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

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

static_assert(std::endian::native == std::endian::little, "of two bfloat16 in a word the first is the lower");

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(float));
using Floats [[gnu::vector_size(kVectorBytes)]] = float;
using Words [[gnu::vector_size(kVectorBytes)]] = std::uint32_t;
using Integers [[gnu::vector_size(kVectorBytes)]] = std::int32_t;

inline std::int32_t integers(float whole) { return static_cast<std::int32_t>(whole); }
inline Integers integers(Floats whole) { return __builtin_convertvector(whole, Integers); }

/// e^x for x <= 0 or no number, within two units of the last place; F is float or Floats. Source:
/// Cephes' expf.
template <typename F>
inline F exp_of_negative(F x) {
  const F least = F{} - 87.0F;
  const F clipped = x > least ? x : least;  // what is no number is not for the conversion below
  constexpr float kNoFraction = 12582912.0F;  // 1.5 * 2^23: what is added to it is rounded
  const F whole = (clipped * 1.44269504F + kNoFraction) - kNoFraction;
  F part = clipped - whole * 0.693359375F;
  part = part - whole * -2.12194440e-4F;
  F series = F{} + 1.9875691500e-4F;
  series = series * part + 1.3981999507e-3F;
  series = series * part + 8.3334519073e-3F;
  series = series * part + 4.1665795894e-2F;
  series = series * part + 1.6666665459e-1F;
  series = series * part + 5.0000001201e-1F;
  const F value = series * part * part + part + 1.0F;
  const F scale = std::bit_cast<F>((integers(whole) + 127) << 23);
  const F result = x < least ? F{} : value * scale;
  return x == x ? result : x;
}

inline float sigmoid(float x) {
  const float small = exp_of_negative(-std::fabs(x));
  const float of_negative = small / (1.0F + small);
  const float result = x < 0.0F ? of_negative : 1.0F - of_negative;
  return std::isnan(x) ? x : result;
}

inline Floats load_floats(const float* from) {
  Floats vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

inline void store_floats(Floats vector, float* to) { std::memcpy(to, &vector, sizeof vector); }

/// The lanes turned by kBy places.
template <int kBy, int... kLane>
inline Floats turned(Floats vector, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(vector, vector, ((kLane + kBy) % kLanes)...);
}

template <int kWidth = kLanes / 2>
inline float largest_of(Floats vector) {
  const auto other = turned<kWidth>(vector, std::make_integer_sequence<int, kLanes>{});
  vector = other > vector ? other : vector;
  if constexpr (kWidth > 1) {
    return largest_of<kWidth / 2>(vector);
  } else {
    return vector[0];
  }
}

template <int kWidth = kLanes / 2>
inline float sum_of(Floats vector) {
  vector += turned<kWidth>(vector, std::make_integer_sequence<int, kLanes>{});
  if constexpr (kWidth > 1) {
    return sum_of<kWidth / 2>(vector);
  } else {
    return vector[0];
  }
}

/// Each block of 2 kWidth lanes becomes the sums of its halves, those of a before those of b.
template <int kWidth, int... kLane>
inline Floats sums_of_halves(Floats a, Floats b, std::integer_sequence<int, kLane...>) {
  const auto half = [&]<int kHalf>(std::integral_constant<int, kHalf>) {
    return __builtin_shufflevector(a, b, (kLane / (2 * kWidth) * (2 * kWidth) + kHalf * kWidth +
                                          kLane % kWidth + kLane / kWidth % 2 * kLanes)...);
  };
  return half(std::integral_constant<int, 0>{}) + half(std::integral_constant<int, 1>{});
}

/// sum_of() each of four, in the same order, by less than half as many operations.
inline void sums_of(Floats a, Floats b, Floats c, Floats d, float* to) {
  constexpr auto kAll = std::make_integer_sequence<int, kLanes>{};
  const auto of_a_c = sums_of_halves<kLanes / 2>(a, c, kAll);
  const auto of_b_d = sums_of_halves<kLanes / 2>(b, d, kAll);
  auto sums = sums_of_halves<kLanes / 4>(of_a_c, of_b_d, kAll);
  if constexpr (kLanes > 8) sums += turned<2>(sums, kAll);
  if constexpr (kLanes > 4) sums += turned<1>(sums, kAll);
  for (int i = 0; i < 4; ++i) to[i] = sums[i * kLanes / 4];
}

}  // namespace
}  // namespace hone::detail::HONE_KERNELS

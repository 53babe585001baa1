#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace hone::distributed::detail {

// The two 16-bit float formats as raw bits, rounded to nearest even. A NaN of any payload becomes
// the one quiet NaN, so that the bits of a reduction never depend on the order of its operands.

inline constexpr std::uint16_t kBFloat16NaN = 0x7FC0;
inline constexpr std::uint16_t kFloat16NaN = 0x7E00;

inline float bfloat16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

inline std::uint16_t float_to_bfloat16(float value) {
  if (std::isnan(value)) return kBFloat16NaN;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  // Adding half a unit, less one where the kept part is even, carries exactly as rounding does.
  return static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

float float16_to_float(std::uint16_t bits);
std::uint16_t float_to_float16(float value);

}  // namespace hone::distributed::detail

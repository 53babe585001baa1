#include "half_precision.hpp"

namespace hone::distributed::detail {

float float16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1F;
  const std::uint32_t mantissa = bits & 0x3FF;
  if (exponent == 0) {  // zero and subnormals: exact in float
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  const std::uint32_t widened = exponent == 0x1F ? 0xFF : exponent + (127 - 15);
  return std::bit_cast<float>(sign | (widened << 23) | (mantissa << 13));
}

std::uint16_t float_to_float16(float value) {
  if (std::isnan(value)) return kFloat16NaN;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000);
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0F) return sign | 0x7C00;  // rounds to infinity
  if (magnitude < 0x1p-14F) {
    // Subnormal: a multiple of 2^-24, rounded by the current (nearest even) mode. 1024 of them are
    // the smallest normal number, whose bits are just that integer.
    return sign | static_cast<std::uint16_t>(std::nearbyint(std::ldexp(magnitude, 24)));
  }
  const std::uint32_t rebased = (bits & 0x7FFFFFFF) - ((127U - 15U) << 23);
  return sign | static_cast<std::uint16_t>((rebased + 0xFFF + ((rebased >> 13) & 1)) >> 13);
}

}  // namespace hone::distributed::detail

#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>

namespace hone {

/// Element types of raw buffers, where no tensor library is in sight. Values are stored in
/// checkpoints: never renumber.
enum class DType : std::uint8_t {
  UInt8 = 0,
  Int64 = 1,
  Float32 = 2,
  Float64 = 3,
  BFloat16 = 4,
  Float16 = 5,
};

/// Units: bytes per element.
constexpr std::int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::UInt8: return 1;
    case DType::BFloat16:
    case DType::Float16: return 2;
    case DType::Float32: return 4;
    case DType::Int64:
    case DType::Float64: return 8;
  }
  return 0;
}

constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::UInt8: return "uint8";
    case DType::Int64: return "int64";
    case DType::Float32: return "float32";
    case DType::Float64: return "float64";
    case DType::BFloat16: return "bfloat16";
    case DType::Float16: return "float16";
  }
  return "unknown";
}

/// The other way round; none for any other text.
constexpr std::optional<DType> dtype_named(std::string_view name) {
  for (const auto dtype : {DType::UInt8, DType::Int64, DType::Float32, DType::Float64,
                           DType::BFloat16, DType::Float16}) {
    if (name_of(dtype) == name) return dtype;
  }
  return std::nullopt;
}

}  // namespace hone

#include "weight_files.hpp"

#include <array>
#include <cstdio>
#include <regex>

namespace hone::detail {

std::string shard_file_name(std::size_t shard, std::size_t num_shards) {
  std::array<char, 80> name{};
  std::snprintf(name.data(), name.size(), "model-%05zu-of-%05zu.safetensors", shard, num_shards);
  return name.data();
}

bool is_shard_file_name(std::string_view name) {
  static const std::regex pattern{R"(model-\d{5,}-of-\d{5,}\.safetensors)"};
  return std::regex_match(name.begin(), name.end(), pattern);
}

std::string_view safetensors_name(DType dtype) {
  switch (dtype) {
    case DType::UInt8: return "U8";
    case DType::Int64: return "I64";
    case DType::Float32: return "F32";
    case DType::Float64: return "F64";
    case DType::BFloat16: return "BF16";
    case DType::Float16: return "F16";
  }
  return "unknown";
}

std::optional<DType> parse_safetensors_dtype(std::string_view name) {
  for (const DType dtype : {DType::UInt8, DType::Int64, DType::Float32, DType::Float64,
                            DType::BFloat16, DType::Float16}) {
    if (safetensors_name(dtype) == name) return dtype;
  }
  return std::nullopt;
}

}  // namespace hone::detail

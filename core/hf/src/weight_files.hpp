#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "hone/core/dtype.hpp"

namespace hone::detail {

inline constexpr std::string_view kWeightsFile = "model.safetensors";
inline constexpr std::string_view kIndexFile = "model.safetensors.index.json";

/// "model-00002-of-00005.safetensors"; `shard` counts from 1.
std::string shard_file_name(std::size_t shard, std::size_t num_shards);
/// Whether `name` is of that form.
bool is_shard_file_name(std::string_view name);

/// "BF16" for BFloat16.
std::string_view safetensors_name(DType dtype);
/// The reverse, or none where hone has no such type.
std::optional<DType> parse_safetensors_dtype(std::string_view name);

}  // namespace hone::detail

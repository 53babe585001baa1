#include <algorithm>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "hone/core/error.hpp"
#include "hone/core/files/published_file.hpp"
#include "hone/core/hf/safetensors.hpp"
#include "rust_call.hpp"
#include "weight_files.hpp"

namespace hone {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Shard = std::vector<const SafetensorsEntry*>;

std::int64_t count_elements(const SafetensorsEntry& tensor) {
  std::int64_t count = 1;
  for (const std::int64_t size : tensor.shape) {
    if (size < 0 || __builtin_mul_overflow(count, size, &count)) return -1;
  }
  return count;
}

void require_writable(std::span<const SafetensorsEntry> tensors) {
  std::set<std::string_view> names;
  for (const auto& tensor : tensors) {
    const std::string where = "tensor \"" + tensor.name + "\" cannot be written: ";
    if (tensor.name.empty() || tensor.name == "__metadata__") {
      throw InputError{where + "safetensors has no such name"};
    }
    if (!names.insert(tensor.name).second) throw InputError{where + "two have this name"};
    if (size_of(tensor.dtype) == 0) {
      throw InputError{where + "element type " +
                       std::to_string(static_cast<int>(tensor.dtype)) + " is not supported"};
    }
    const std::int64_t count = count_elements(tensor);
    const auto num_bytes = static_cast<std::int64_t>(tensor.bytes.size());
    if (count < 0 || num_bytes % size_of(tensor.dtype) != 0 ||
        num_bytes / size_of(tensor.dtype) != count) {
      throw InputError{where + "its shape " + json(tensor.shape).dump() + " of " +
                       std::string{name_of(tensor.dtype)} + " does not take " +
                       std::to_string(num_bytes) + " bytes"};
    }
  }
}

/// Source: huggingface_hub's `split_state_dict_into_shards_factory`.
std::vector<Shard> cut_into_shards(std::span<const SafetensorsEntry> tensors,
                                   std::int64_t max_bytes) {
  std::vector<Shard> shards;
  Shard current;
  std::int64_t current_bytes = 0;
  for (const auto& tensor : tensors) {
    const auto bytes = static_cast<std::int64_t>(tensor.bytes.size());
    if (bytes > max_bytes) {
      shards.push_back({&tensor});
      continue;
    }
    if (bytes > max_bytes - current_bytes) {
      shards.push_back(std::exchange(current, {}));
      current_bytes = 0;
    }
    current.push_back(&tensor);
    current_bytes += bytes;
  }
  if (!current.empty() || shards.empty()) shards.push_back(std::move(current));
  return shards;
}

/// Large elements first: every tensor then starts aligned to its own element size.
void sort_for_alignment(Shard& shard) {
  std::sort(shard.begin(), shard.end(), [](const auto* a, const auto* b) {
    const auto sizes = std::pair{size_of(a->dtype), size_of(b->dtype)};
    return sizes.first != sizes.second ? sizes.first > sizes.second : a->name < b->name;
  });
}

PublishedFile write_shard(const fs::path& path, Shard shard) {
  sort_for_alignment(shard);
  json plan = json::array();
  for (const auto* tensor : shard) {
    plan.push_back({{"name", tensor->name},
                    {"dtype", detail::safetensors_name(tensor->dtype)},
                    {"shape", tensor->shape},
                    {"bytes", tensor->bytes.size()}});
  }
  std::string text;
  try {
    text = plan.dump();
  } catch (const json::exception& error) {
    throw InputError{path.string() + ": a tensor's name is not valid UTF-8: " + error.what()};
  }
  detail::RustBuffer header;
  detail::RustBuffer error;
  const int status =
      hone_hf_weights_write_header(text.data(), text.size(), header.out(), error.out());
  detail::check_rust(status, error, path.string() + " cannot be written");

  PublishedFile file{path};
  file.write(header.view());
  for (const auto* tensor : shard) file.write(tensor->bytes);
  file.finish();
  return file;
}

PublishedFile write_index(const fs::path& path, std::span<const Shard> shards) {
  std::int64_t num_bytes = 0;
  std::int64_t num_elements = 0;
  json weight_map = json::object();
  for (std::size_t i = 0; i < shards.size(); ++i) {
    for (const auto* tensor : shards[i]) {
      weight_map[tensor->name] = detail::shard_file_name(i + 1, shards.size());
      num_bytes += static_cast<std::int64_t>(tensor->bytes.size());
      num_elements += count_elements(*tensor);
    }
  }
  const json index = {
      {"metadata", {{"total_parameters", num_elements}, {"total_size", num_bytes}}},
      {"weight_map", std::move(weight_map)}};
  PublishedFile file{path};
  const std::string text = index.dump(2) + "\n";
  file.write(text);
  file.finish();
  return file;
}

/// What an earlier export left: a reader must not find two sets of weights.
void remove_stale(const fs::path& folder, std::span<const PublishedFile> written) {
  std::set<std::string> kept;
  for (const auto& file : written) kept.insert(file.path().filename().string());
  for (const auto& entry : fs::directory_iterator{folder}) {
    const std::string name = entry.path().filename().string();
    const bool is_weights = name == detail::kWeightsFile || name == detail::kIndexFile ||
                            detail::is_shard_file_name(name);
    if (is_weights && !kept.contains(name)) fs::remove(entry.path());
  }
}

void create_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error) return;
  throw Error{ExitCode::Io, "folder " + folder.string() + " cannot be created: " + error.message()};
}

}  // namespace

void write_safetensors(const fs::path& folder, std::span<const SafetensorsEntry> tensors,
                       std::int64_t max_shard_bytes) {
  if (max_shard_bytes <= 0) {
    throw ConfigError{"the largest shard must have at least one byte, got " +
                      std::to_string(max_shard_bytes)};
  }
  require_writable(tensors);
  create_folder(folder);
  const auto shards = cut_into_shards(tensors, max_shard_bytes);
  std::vector<PublishedFile> files;
  if (shards.size() == 1) {
    files.push_back(write_shard(folder / detail::kWeightsFile, shards.front()));
  } else {
    for (std::size_t i = 0; i < shards.size(); ++i) {
      const auto name = detail::shard_file_name(i + 1, shards.size());
      files.push_back(write_shard(folder / name, shards[i]));
    }
    files.push_back(write_index(folder / detail::kIndexFile, shards));
  }
  for (auto& file : files) file.publish();
  remove_stale(folder, files);
  sync_folder(folder);
}

}  // namespace hone

#include "manifest.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "digest.hpp"
#include "hone/core/error.hpp"
#include "manifest_format.hpp"

namespace hone::checkpoints::detail {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const RankFileEntry& entry) {
  return {{"file", entry.file}, {"bytes", entry.bytes}, {"layout_digest", entry.layout_digest}};
}

Json to_json(const TensorEntry& entry) {
  Json json{{"name", entry.name},     {"dtype", name_of(entry.dtype)}, {"shape", entry.shape},
            {"file", entry.file},     {"offset", entry.offset},        {"bytes", entry.bytes},
            {"digest", entry.digest}};
  if (entry.is_piece()) json["first"] = entry.first;
  return json;
}

Json to_json(const OtherFileEntry& entry) {
  return {{"file", entry.file}, {"bytes", entry.bytes}, {"digest", entry.digest}};
}

Json to_json(const std::optional<Origin>& origin) {
  if (!origin) return nullptr;
  return {{"epoch", origin->epoch}, {"step", origin->step}};
}

std::string line(std::string_view key, const Json& value) {
  return Json(key).dump() + ": " + value.dump();
}

/// One entry a line: people and line tools read manifests too.
template <typename Entry>
std::string lines(std::string_view key, const std::vector<Entry>& entries) {
  std::string text = Json(key).dump() + ": [";
  const char* separator = "\n  ";
  for (const auto& entry : entries) {
    text += separator + to_json(entry).dump();
    separator = ",\n  ";
  }
  return text + "\n]";
}

void require_room(std::int64_t size, std::int64_t room, const std::string& of_what) {
  if (size <= room) return;
  throw CheckpointError{"the manifest would have " + std::to_string(size) + of_what +
                            ", and there is room for " + std::to_string(room) +
                            ". Larger buckets make fewer pieces of tensors: --ddp_bucket_cap_mb",
                        ExitCode::Usage};
}

}  // namespace

bool TensorEntry::is_piece() const { return first != 0 || bytes != bytes_of(shape, dtype); }

std::string rank_file_name(int rank, int world_size) {
  char name[64];
  std::snprintf(name, sizeof name, "rank-%05d-of-%05d.h5", rank, world_size);
  return name;
}

std::int64_t bytes_of(const std::vector<std::int64_t>& shape, DType dtype) {
  std::int64_t bytes = size_of(dtype);
  for (const auto size : shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, size, &bytes)) return -1;
  }
  return bytes;
}

void require_room_for(std::int64_t num_entries) {
  require_room(num_entries, kMaxTensors, " tensors and pieces of tensors");
}

std::string write_manifest(const Manifest& manifest) {
  require_room_for(std::ssize(manifest.tensors));
  try {
    std::string text = "{\n" + line("format", kFormatName);
    text += ",\n" + line("format_version", kFormatVersion);
    text += ",\n" + line("hone_version", manifest.hone_version);
    text += ",\n" + line("step", manifest.step);
    text += ",\n" + line("run", manifest.run);
    text += ",\n" + line("epoch", manifest.epoch);
    text += ",\n" + line("parent", to_json(manifest.parent));
    text += ",\n" + line("world_size", manifest.world_size);
    text += ",\n" + lines("rank_files", manifest.rank_files);
    text += ",\n" + lines("tensors", manifest.tensors);
    text += ",\n" + lines("other_files", manifest.other_files);
    text += ",\n" + line("state", manifest.state_json);
    const std::string digest = sha256_of(text);
    text.append(kDigestHead).append(digest).append(kDigestTail);
    require_room(std::ssize(text), kMaxManifestBytes, " bytes");
    return text;
  } catch (const nlohmann::json::exception& error) {  // a name that is not UTF-8
    throw CheckpointError{std::string{"the manifest cannot be written: "} + error.what(),
                          ExitCode::Internal};
  }
}

}  // namespace hone::checkpoints::detail

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "digest.hpp"
#include "epochs.hpp"
#include "hdf5_layout.hpp"
#include "hone/core/data/detail/json_line.hpp"
#include "hone/core/error.hpp"
#include "manifest.hpp"
#include "manifest_format.hpp"

namespace hone::checkpoints::detail {
namespace {

using Json = nlohmann::json;

constexpr int kMaxWorldSize = 99'999;  // five digits in a file name
/// Of what is no tensor, and of each tensor alone. A rank's file has three values.
constexpr hone::LineLimits kLimits{.max_depth = 8, .max_values = 500'000, .max_members = 500'000};

[[noreturn]] void refuse(const std::string& reason) {
  throw CheckpointError{std::string{kManifestName} + ": " + reason};
}

/// Checks the trailing digest of a whole text.
void require_authentic(std::string_view text) {
  const std::size_t tail = kDigestHead.size() + kSha256Characters + kDigestTail.size();
  if (text.size() < tail || !text.ends_with(kDigestTail) ||
      text.substr(text.size() - tail, kDigestHead.size()) != kDigestHead) {
    refuse("does not end with its own digest (cut off, or not written by hone)");
  }
  const auto body = text.substr(0, text.size() - tail);
  const auto digest = text.substr(body.size() + kDigestHead.size(), kSha256Characters);
  if (digest != sha256_of(body)) refuse("its own digest does not match: the text was changed");
}

std::int64_t integer(const Json& object, const char* key) {
  const Json& value = object.at(key);
  if (!value.is_number_integer()) refuse(std::string{key} + " is not an integer");
  const auto number = value.get<std::int64_t>();
  if (number < 0) refuse(std::string{key} + " is negative or too large");
  return number;
}

/// `name`: in what it is called now, "digest" or "layout_digest"; before version 3 it was SHA-256 and
/// said so.
std::string digest_text(const Json& object, std::string name, std::int64_t version) {
  std::string kind;
  if (version < 3) {
    name.replace(name.find("digest"), std::string::npos, "sha256");
    kind = "sha256:";
  }
  auto text = kind + object.at(name).get<std::string>();
  if (!kind_of_digest(text)) refuse(name + " is not a digest: " + text);
  return text;
}

DType known_dtype(const std::string& name) {
  const auto dtype = dtype_named(name);
  if (!dtype) refuse("unknown dtype " + name);
  return *dtype;
}

TensorEntry parse_tensor(const Json& json, std::int64_t version) {
  TensorEntry entry;
  entry.name = json.at("name").get<std::string>();
  if (!is_valid_tensor_name(entry.name)) refuse("not a tensor name: " + json.at("name").dump());
  entry.dtype = known_dtype(json.at("dtype").get<std::string>());
  for (const auto& size : json.at("shape")) {
    if (!size.is_number_integer()) refuse("shape of " + entry.name + " is not integers");
    if (entry.shape.size() == kMaxDimensions) refuse(entry.name + " has too many dimensions");
    entry.shape.push_back(size.get<std::int64_t>());
  }
  entry.file = json.at("file").get<std::string>();
  entry.offset = integer(json, "offset");
  entry.bytes = integer(json, "bytes");
  entry.digest = digest_text(json, "digest", version);
  const bool may_be_piece = version >= 2 && json.contains("first");
  if (may_be_piece) entry.first = integer(json, "first");
  const auto whole = bytes_of(entry.shape, entry.dtype);
  const auto width = size_of(entry.dtype);
  const bool fits = entry.bytes <= whole && entry.bytes % width == 0 &&
                    entry.first <= (whole - entry.bytes) / width;
  if (!fits || (!may_be_piece && entry.bytes != whole)) {
    refuse("bytes of " + entry.name + " do not fit its shape and dtype");
  }
  return entry;
}

OtherFileEntry parse_other_file(const Json& json, std::int64_t version) {
  OtherFileEntry entry{json.at("file").get<std::string>(), integer(json, "bytes"),
                       digest_text(json, "digest", version)};
  const std::filesystem::path path{entry.file};
  const bool climbs = std::find(path.begin(), path.end(), "..") != path.end();
  // By its text: one file has one name, so that none is read as often as somebody likes.
  const bool is_plain = path.lexically_normal().native() == entry.file && path.has_filename() &&
                        entry.file.find('\0') == std::string::npos;
  if (path.is_absolute() || climbs || !is_plain) {
    refuse("not a path inside the checkpoint: " + json.at("file").dump());
  }
  return entry;
}

std::vector<RankFileEntry> parse_rank_files(const Json& json, int world_size,
                                            std::int64_t version) {
  std::vector<RankFileEntry> entries;
  for (const auto& item : json) {
    entries.push_back({item.at("file").get<std::string>(), integer(item, "bytes"),
                       digest_text(item, "layout_digest", version)});
    const int rank = static_cast<int>(entries.size()) - 1;
    if (entries.back().file != rank_file_name(rank, world_size)) {
      refuse("rank file " + std::to_string(rank) + " is called " + entries.back().file);
    }
  }
  if (static_cast<int>(entries.size()) != world_size) refuse("not every rank file is listed");
  return entries;
}

/// Each once, so that no byte is read twice.
std::vector<OtherFileEntry> parse_other_files(const Json& json,
                                              const std::vector<RankFileEntry>& rank_files,
                                              std::int64_t version) {
  std::unordered_set<std::string> names;
  for (const auto& entry : rank_files) names.insert(entry.file);
  std::vector<OtherFileEntry> entries;
  for (const auto& item : json) {
    entries.push_back(parse_other_file(item, version));
    if (!names.insert(entries.back().file).second) refuse("lists " + entries.back().file + " twice");
  }
  return entries;
}

/// Every tensor lies in a listed file, behind the end of the one before it.
void require_disjoint(const Manifest& manifest) {
  std::unordered_map<std::string, std::vector<const TensorEntry*>> by_file;
  for (const auto& file : manifest.rank_files) by_file[file.file];
  for (const auto& tensor : manifest.tensors) {
    const auto file = by_file.find(tensor.file);
    if (file == by_file.end()) refuse(tensor.name + " is in a file that is not listed");
    if (tensor.bytes > 0) file->second.push_back(&tensor);
  }
  for (const auto& file : manifest.rank_files) {
    auto& tensors = by_file[file.file];
    std::sort(tensors.begin(), tensors.end(),
              [](const auto* left, const auto* right) { return left->offset < right->offset; });
    std::int64_t end = 0;
    for (const auto* tensor : tensors) {
      if (tensor->offset < end) refuse(tensor->name + " overlaps another tensor");
      if (tensor->bytes > file.bytes - tensor->offset) {  // a sum could overflow
        refuse(tensor->name + " does not lie inside " + file.file);
      }
      end = tensor->offset + tensor->bytes;
    }
  }
}

bool is_known(std::int64_t version) { return version >= 1 && version <= kFormatVersion; }

/// The text without the entries of "tensors", which go to `take` as they are read: as JSON all of them
/// would need ten times the memory.
template <typename Take>
Json parse_text(const std::string& text, const hone::LineLimits& limits, Take take) {
  return hone::detail::parse_json(
      text, std::string{kManifestName}, limits,
      [&](const Json& outermost, const std::string& list, const Json& entry) {
        const bool is_tensor = list == "tensors";
        if (is_tensor) take(outermost, entry);
        return is_tensor;
      });
}

void take_tensor(const Json& manifest, const Json& entry, std::vector<TensorEntry>& tensors) {
  if (!manifest.contains("format_version")) refuse("format_version does not come before tensors");
  const auto version = integer(manifest, "format_version");
  if (!is_known(version)) return;  // parse_fields() refuses it
  if (tensors.size() == kMaxTensors) {
    refuse("has more than " + std::to_string(kMaxTensors) + " tensors and pieces of tensors");
  }
  tensors.push_back(parse_tensor(entry, version));
}

/// `json`: without the entries of `tensors`.
Manifest parse_fields(const Json& json, std::vector<TensorEntry> tensors) {
  if (json.at("format").get<std::string>() != kFormatName) refuse("is of another format");
  const auto version = integer(json, "format_version");
  if (!is_known(version)) {
    refuse("has format version " + std::to_string(version) + " (written by hone " +
           json.value("hone_version", "?") + "), this hone reads versions 1 to " +
           std::to_string(kFormatVersion));
  }
  Manifest manifest;
  manifest.hone_version = json.at("hone_version").get<std::string>();
  manifest.step = integer(json, "step");
  manifest.run = json.value("run", "");
  if (!is_run_name(manifest.run)) refuse("run is no run's name");
  if (json.contains("epoch")) manifest.epoch = integer(json, "epoch");
  if (manifest.epoch > kMaxEpoch) refuse("epoch is out of range");
  if (json.contains("parent") && !json.at("parent").is_null()) {
    const auto& parent = json.at("parent");
    manifest.parent = Origin{.epoch = integer(parent, "epoch"), .step = integer(parent, "step")};
  }
  const auto world_size = integer(json, "world_size");
  if (world_size < 1 || world_size > kMaxWorldSize) refuse("world_size is out of range");
  manifest.world_size = static_cast<int>(world_size);
  manifest.rank_files = parse_rank_files(json.at("rank_files"), manifest.world_size, version);
  const auto& others = json.at("tensors");
  if (!others.is_array() || !others.empty()) refuse("tensors is not a list of tensors");
  manifest.tensors = std::move(tensors);
  manifest.other_files = parse_other_files(json.at("other_files"), manifest.rank_files, version);
  manifest.state_json = json.at("state").get<std::string>();
  if (manifest.state_json.size() > kMaxStateBytes) refuse("state is too long");
  return manifest;
}

/// Adds an entry to those of its tensor, which come in ascending order.
void extend(const TensorEntry& entry, const TensorEntry& first, std::int64_t& covered) {
  const bool same = entry.dtype == first.dtype && entry.shape == first.shape;
  if (!same) refuse("pieces of " + entry.name + " differ in dtype or shape");
  if (&entry != &first && entry.first < covered) refuse("lists " + entry.name + " twice");
  if (entry.first > covered) refuse("lacks a piece of " + entry.name);
  covered = entry.first + entry.bytes / size_of(entry.dtype);
}

}  // namespace

void require_whole_tensors(const Manifest& manifest) {
  std::unordered_map<std::string_view, std::vector<const TensorEntry*>> by_name;
  for (const auto& entry : manifest.tensors) by_name[entry.name].push_back(&entry);
  for (auto& [name, entries] : by_name) {
    std::ranges::stable_sort(entries, {}, &TensorEntry::first);
    std::int64_t covered = 0;
    for (const auto* entry : entries) {
      if (covered == 0 && entry != entries.front()) refuse("lists " + entry->name + " twice");
      extend(*entry, *entries.front(), covered);
    }
    const auto& any = *entries.front();
    if (covered * size_of(any.dtype) != bytes_of(any.shape, any.dtype)) {
      refuse("lacks a piece of " + any.name);
    }
  }
}

bool is_of_later_version(const std::string& text) {
  try {
    require_authentic(text);
    // Its tensors may be anything.
    const auto json = parse_text(text, {}, [](const Json&, const Json&) {});
    return json.at("format") == kFormatName && integer(json, "format_version") > kFormatVersion;
  } catch (const Json::exception&) {
    return false;
  } catch (const Error&) {
    return false;
  }
}

Manifest parse_manifest(const std::string& text) {
  try {
    require_authentic(text);
    std::vector<TensorEntry> tensors;
    const auto json = parse_text(text, kLimits, [&](const Json& outermost, const Json& entry) {
      take_tensor(outermost, entry, tensors);
    });
    Manifest manifest = parse_fields(json, std::move(tensors));
    require_disjoint(manifest);
    require_whole_tensors(manifest);
    return manifest;
  } catch (const Json::exception& error) {
    refuse(error.what());
  } catch (const InputError& error) {  // names the manifest
    throw CheckpointError{error.what()};
  }
}

}  // namespace hone::checkpoints::detail

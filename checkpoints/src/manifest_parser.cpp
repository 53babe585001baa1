#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "digest.hpp"
#include "hdf5_layout.hpp"
#include "hone/core/data/detail/json_line.hpp"
#include "hone/core/error.hpp"
#include "manifest.hpp"
#include "manifest_format.hpp"

namespace hone::checkpoints::detail {
namespace {

using Json = nlohmann::json;

constexpr int kMaxWorldSize = 99'999;  // five digits in a file name
constexpr int kMaxDepth = 8;
constexpr std::size_t kMaxEntryValues = 100;   // of a tensor
constexpr std::size_t kMaxOtherValues = 500'000;  // outside of tensors; a rank's file has three

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

DType dtype_named(const std::string& name) {
  constexpr std::array kAll{DType::UInt8,   DType::Int64,    DType::Float32,
                            DType::Float64, DType::BFloat16, DType::Float16};
  const auto found =
      std::find_if(kAll.begin(), kAll.end(), [&](DType dtype) { return name_of(dtype) == name; });
  if (found == kAll.end()) refuse("unknown dtype " + name);
  return *found;
}

TensorEntry parse_tensor(const Json& json, std::int64_t version) {
  TensorEntry entry;
  entry.name = json.at("name").get<std::string>();
  if (!is_valid_tensor_name(entry.name)) refuse("not a tensor name: " + json.at("name").dump());
  entry.dtype = dtype_named(json.at("dtype").get<std::string>());
  for (const auto& size : json.at("shape")) {
    if (!size.is_number_integer()) refuse("shape of " + entry.name + " is not integers");
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

/// Takes the tensors out of the text as they are read: as JSON all of them would need ten times the
/// memory.
class TensorReader {
 public:
  /// For parse_json().
  bool operator()(int depth, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    const bool is_begun = event == Event::object_start || event == Event::array_start;
    if (is_begun || event == Event::value) count(depth);
    if (event == Event::key && depth == 1) key_ = parsed.get_ref<const std::string&>();
    const bool is_version = event == Event::value && depth == 1 && key_ == "format_version";
    if (is_version && parsed.is_number_integer()) version_ = parsed.get<std::int64_t>();
    const bool is_entry = event == Event::object_end && depth == 2 && key_ == "tensors";
    if (is_entry) take(parsed);
    return !is_entry;
  }

  std::vector<TensorEntry> tensors() && { return std::move(tensors_); }

 private:
  void count(int depth) {
    const bool in_entry = depth > 2 && key_ == "tensors";
    auto& counted = in_entry ? entry_values_ : other_values_;
    if (++counted > (in_entry ? kMaxEntryValues : kMaxOtherValues)) refuse("has too many values");
  }

  void take(const Json& entry) {
    entry_values_ = 0;
    if (!version_) refuse("format_version does not come before tensors");
    if (!is_known(*version_)) return;  // the caller refuses it
    if (tensors_.size() == kMaxTensors) {
      refuse("has more than " + std::to_string(kMaxTensors) + " tensors and pieces of tensors");
    }
    try {
      tensors_.push_back(parse_tensor(entry, *version_));
    } catch (const Json::exception& error) {  // a key is missing, or of another type
      refuse(std::string{"tensors: "} + error.what());
    }
  }

  std::string key_;  // of the outermost object
  std::optional<std::int64_t> version_;
  std::vector<TensorEntry> tensors_;
  std::size_t entry_values_ = 0, other_values_ = 0;
};

Json parse_text(const std::string& text, TensorReader& tensors) {
  return hone::detail::parse_json(text, std::string{kManifestName}, {.max_depth = kMaxDepth},
                                  std::ref(tensors));
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
  if (json.contains("epoch")) manifest.epoch = integer(json, "epoch");
  if (json.contains("parent") && !json.at("parent").is_null()) {
    const auto& parent = json.at("parent");
    manifest.parent = Origin{integer(parent, "epoch"), integer(parent, "step")};
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
    TensorReader tensors;
    const auto json = parse_text(text, tensors);
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
    TensorReader tensors;
    const auto json = parse_text(text, tensors);
    Manifest manifest = parse_fields(json, std::move(tensors).tensors());
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

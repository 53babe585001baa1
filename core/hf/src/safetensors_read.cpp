#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "hone/core/data/detail/json_file.hpp"
#include "hone/core/error.hpp"
#include "hone/core/hf/model_folder.hpp"
#include "hone/core/hf/safetensors.hpp"
#include "mapped_file.hpp"
#include "rust_call.hpp"
#include "weight_files.hpp"

namespace hone {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The shard of each tensor, as the index says.
using WeightMap = std::map<std::string, std::string>;

/// Whoever wrote the index must not make us open files outside the folder, or names that no file has.
bool is_file_name(const std::string& name) {
  constexpr std::size_t kLongest = 255;
  return !name.empty() && name.size() <= kLongest && name.find('\0') == std::string::npos &&
         fs::path{name}.filename() == name;
}

WeightMap read_index(const fs::path& file) {
  const auto index = detail::parse_json_file(read_text_file(file), file);
  if (!index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw InputError{file.string() + ": expected an object with \"weight_map\""};
  }
  WeightMap shards;
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    if (!shard.is_string() || !is_file_name(shard.get<std::string>())) {
      throw InputError{file.string() + ": tensor \"" + tensor +
                       "\": expected the name of a file in the same folder, got " + shard.dump()};
    }
    shards[tensor] = shard.get<std::string>();
  }
  return shards;
}

[[noreturn]] void throw_no_weights(const fs::path& folder) {
  std::string message = "no weights in " + folder.string() + ": looked for " +
                        std::string{detail::kWeightsFile} + " and " +
                        std::string{detail::kIndexFile};
  if (fs::exists(folder / "manifest.json")) {
    message += ". The folder is a checkpoint, of which hone export makes a Hugging Face folder: "
               "hone export " + folder.string() + " --output_dir FOLDER";
  }
  if (fs::exists(folder / "pytorch_model.bin") ||
      fs::exists(folder / "pytorch_model.bin.index.json")) {
    message += ". The folder has pytorch_model.bin, which hone does not open (it can run code): "
               "convert it once with transformers' from_pretrained(...).save_pretrained(...)";
  }
  throw MissingInputError{message};
}

[[noreturn]] void throw_missing_shards(const fs::path& folder, const WeightMap& shards) {
  std::set<std::string> missing;
  for (const auto& [tensor, shard] : shards) {
    if (!fs::exists(folder / shard)) missing.insert(shard);
  }
  std::string names;
  for (const auto& name : missing) names += (names.empty() ? "" : ", ") + name;
  throw MissingInputError{folder.string() + " lacks " + names + ", which " +
                          std::string{detail::kIndexFile} + " names; download the folder again"};
}

}  // namespace

struct SafetensorsFolder::State {
  explicit State(fs::path path) : folder(std::move(path)) {}

  void open(const std::string& file);
  void open_shards(const WeightMap& shards);
  void sort();

  fs::path folder;
  std::vector<detail::MappedFile> files;
  std::vector<SafetensorsEntry> entries;
  std::vector<UnsupportedTensor> unsupported;
};

void SafetensorsFolder::State::open(const std::string& name) {
  const fs::path path = folder / name;
  const auto bytes = files.emplace_back(path).bytes();
  detail::RustBuffer layout;
  detail::RustBuffer error;
  const int status = hone_hf_weights_read_layout(
      reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), layout.out(), error.out());
  detail::check_rust(status, error, path.string() + " is not a valid safetensors file");
  for (const auto& tensor : json::parse(layout.view())) {
    const auto type_name = tensor["dtype"].get<std::string>();
    const auto dtype = detail::parse_safetensors_dtype(type_name);
    if (!dtype) {
      unsupported.push_back({tensor["name"], type_name});
      continue;
    }
    const auto begin = tensor["begin"].get<std::size_t>();
    const auto end = tensor["end"].get<std::size_t>();
    entries.push_back({tensor["name"], *dtype, tensor["shape"].get<std::vector<std::int64_t>>(),
                       bytes.subspan(begin, end - begin)});
  }
}

void SafetensorsFolder::State::open_shards(const WeightMap& shards) {
  std::set<std::string> names;
  for (const auto& [tensor, shard] : shards) names.insert(shard);
  for (const auto& name : names) {
    if (!fs::exists(folder / name)) throw_missing_shards(folder, shards);
  }
  std::set<std::pair<std::string, std::string>> present;
  for (const auto& name : names) {
    const auto first_entry = entries.size();
    const auto first_unsupported = unsupported.size();
    open(name);
    for (auto i = first_entry; i < entries.size(); ++i) present.emplace(entries[i].name, name);
    for (auto i = first_unsupported; i < unsupported.size(); ++i) {
      present.emplace(unsupported[i].name, name);
    }
  }
  for (const auto& [tensor, shard] : shards) {
    if (present.contains({tensor, shard})) continue;
    throw InputError{(folder / shard).string() + " lacks the tensor \"" + tensor + "\", which " +
                     std::string{detail::kIndexFile} + " places there"};
  }
}

void SafetensorsFolder::State::sort() {
  const auto by_name = [](const auto& a, const auto& b) { return a.name < b.name; };
  std::sort(entries.begin(), entries.end(), by_name);
  std::sort(unsupported.begin(), unsupported.end(), by_name);
  const auto same = [](const auto& a, const auto& b) { return a.name == b.name; };
  const auto twice = std::adjacent_find(entries.begin(), entries.end(), same);
  if (twice == entries.end()) return;
  throw InputError{folder.string() + ": two shards hold the tensor \"" + twice->name + "\""};
}

SafetensorsFolder::SafetensorsFolder(const fs::path& folder)
    : state_(std::make_unique<State>(folder)) {
  require_model_folder(folder);
  if (fs::exists(folder / detail::kWeightsFile)) {
    state_->open(std::string{detail::kWeightsFile});
  } else if (fs::exists(folder / detail::kIndexFile)) {
    state_->open_shards(read_index(folder / detail::kIndexFile));
  } else {
    throw_no_weights(folder);
  }
  state_->sort();
}

SafetensorsFolder::~SafetensorsFolder() = default;
SafetensorsFolder::SafetensorsFolder(SafetensorsFolder&&) noexcept = default;
SafetensorsFolder& SafetensorsFolder::operator=(SafetensorsFolder&&) noexcept = default;

std::span<const SafetensorsEntry> SafetensorsFolder::entries() const { return state_->entries; }

std::span<const UnsupportedTensor> SafetensorsFolder::unsupported() const {
  return state_->unsupported;
}

namespace {

const SafetensorsEntry* find(std::span<const SafetensorsEntry> entries, std::string_view name) {
  const auto found =
      std::lower_bound(entries.begin(), entries.end(), name,
                       [](const auto& entry, std::string_view key) { return entry.name < key; });
  return found == entries.end() || found->name != name ? nullptr : &*found;
}

}  // namespace

bool SafetensorsFolder::contains(std::string_view name) const {
  return find(state_->entries, name) != nullptr;
}

const SafetensorsEntry& SafetensorsFolder::at(std::string_view name) const {
  if (const auto* entry = find(state_->entries, name)) return *entry;
  const std::string folder = state_->folder.string();
  for (const auto& tensor : state_->unsupported) {
    if (tensor.name != name) continue;
    throw InputError{folder + ": tensor \"" + tensor.name + "\" has the type " + tensor.dtype +
                     "; hone reads F32, F64, BF16, F16, I64 and U8"};
  }
  throw InputError{folder + " has no tensor \"" + std::string{name} + "\" among its " +
                   std::to_string(state_->entries.size())};
}

}  // namespace hone

#include "epochs.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "file_io.hpp"
#include "hone/core/error.hpp"

namespace hone::checkpoints::detail {
namespace {

constexpr std::string_view kFolder = "epochs";
constexpr std::string_view kSuffix = ".json";
constexpr std::int64_t kMaxBytes = 4096;

std::string name_of(std::int64_t number) {
  char text[40];
  std::snprintf(text, sizeof text, "%06lld", static_cast<long long>(number));
  return std::string{text}.append(kSuffix);
}

/// 3 for "000003.json"; 0 for every name that name_of() does not give.
std::int64_t number_of(std::string_view name) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  return error == std::errc{} && number > 0 && name_of(number) == name ? number : 0;
}

/// Of those that have begun; ascending.
std::vector<std::int64_t> numbers_in(FileOps& files, const std::filesystem::path& folder) {
  std::vector<DirectoryEntry> entries;
  const int result = files.list(folder, entries);
  if (result == -ENOENT) return {};
  if (result < 0) throw file_error("list", folder, -result);
  std::vector<std::int64_t> numbers;
  for (const auto& entry : entries) {
    const auto number = number_of(entry.name);
    if (number > 0 && entry.kind == EntryKind::File) numbers.push_back(number);
  }
  std::ranges::sort(numbers);
  return numbers;
}

std::string to_json(const std::optional<Origin>& parent) {
  nlohmann::ordered_json json{{"parent", nullptr}};
  if (parent) json["parent"] = {{"epoch", parent->epoch}, {"step", parent->step}};
  return json.dump() + '\n';
}

/// None where the file is torn: its owner died before it did anything.
std::optional<Epoch> read_epoch(FileOps& files, const std::filesystem::path& folder,
                                std::int64_t number) {
  const auto text = read_text_file(files, folder / name_of(number), kMaxBytes);
  try {
    const auto json = nlohmann::json::parse(text);
    Epoch epoch{number, std::nullopt};
    const auto& parent = json.at("parent");
    if (parent.is_null()) return epoch;
    for (const char* key : {"epoch", "step"}) {
      if (!parent.at(key).is_number_integer()) return std::nullopt;
    }
    epoch.parent = Origin{parent.at("epoch").get<std::int64_t>(), parent.at("step").get<std::int64_t>()};
    return epoch;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

}  // namespace

Epoch begin_epoch(FileOps& files, const std::filesystem::path& run_directory,
                  std::optional<Origin> parent) {
  const auto folder = run_directory / kFolder;
  ensure_directory(files, folder);
  // Whoever made the run directory may not have made it durable: without it all that it holds is lost.
  const auto parent_folder = run_directory.parent_path();
  sync_directory(files, parent_folder.empty() ? "." : parent_folder);
  const auto numbers = numbers_in(files, folder);
  const auto last = std::max(numbers.empty() ? 0 : numbers.back(), parent ? parent->epoch : 0);
  const Epoch epoch{last + 1, parent};
  // Creating fails where another has been quicker: two owners that know nothing of each other.
  write_new_file(files, folder / name_of(epoch.number), to_json(parent));
  sync_directory(files, folder);
  return epoch;
}

void require_newest(FileOps& files, const std::filesystem::path& run_directory,
                    const Epoch& epoch) {
  const auto numbers = numbers_in(files, run_directory / kFolder);
  if (numbers.empty() || numbers.back() <= epoch.number) return;
  throw CheckpointError{"another job has taken over " + run_directory.string() + " (epoch " +
                            std::to_string(numbers.back()) + ", this one is " +
                            std::to_string(epoch.number) +
                            "). Stop this one, or give it an output_dir of its own",
                        ExitCode::Environment};
}

Lineage::Lineage(FileOps& files, const std::filesystem::path& run_directory,
                 std::span<const Origin> present) {
  const auto folder = run_directory / kFolder;
  const auto numbers = numbers_in(files, folder);
  std::int64_t newest = 0;
  for (const auto& checkpoint : present) newest = std::max(newest, checkpoint.epoch);
  if (newest == 0) return;
  ends_.push_back({newest, std::numeric_limits<std::int64_t>::max()});
  for (auto at = newest; std::ranges::binary_search(numbers, at);) {
    const auto epoch = read_epoch(files, folder, at);
    if (!epoch || !epoch->parent || epoch->parent->epoch >= at) break;  // ancestors are older
    ends_.push_back(*epoch->parent);
    at = epoch->parent->epoch;
  }
}

bool Lineage::has(const Origin& checkpoint) const {
  if (ends_.empty()) return true;
  return std::ranges::any_of(ends_, [&](const Origin& end) {
    return end.epoch == checkpoint.epoch && checkpoint.step <= end.step;
  });
}

}  // namespace hone::checkpoints::detail

#include "epochs.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "file_io.hpp"
#include "hone/core/data/detail/json_line.hpp"
#include "hone/core/error.hpp"
#include "run_directory.hpp"

namespace hone::checkpoints::detail {
namespace {

constexpr std::string_view kFolder = "epochs";
constexpr std::string_view kSuffix = ".json";
constexpr std::int64_t kMaxBytes = 4096;
constexpr std::size_t kRunDigits = 16;  ///< make_nonce()'s

std::string name_of(std::int64_t number) {
  char text[40];
  std::snprintf(text, sizeof text, "%06lld", static_cast<long long>(number));
  return std::string{text}.append(kSuffix);
}

/// 3 for "000003.json"; 0 for every name that name_of() does not give an epoch.
std::int64_t number_of(std::string_view name) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  const bool is_one = error == std::errc{} && number > 0 && number <= kMaxEpoch;
  return is_one && name_of(number) == name ? number : 0;
}

std::string to_json(const Epoch& epoch) {
  nlohmann::ordered_json json{{"run", epoch.run}, {"parent", nullptr}};
  if (const auto& parent = epoch.parent) {
    json["parent"] = {{"epoch", parent->epoch}, {"step", parent->step}, {"run", parent->run}};
  }
  return json.dump() + '\n';
}

std::string run_in(const nlohmann::json& json) {
  auto run = json.value("run", "");
  if (!is_run_name(run)) throw InputError{"run is no run's name"};
  return run;
}

}  // namespace

bool is_run_name(std::string_view run) {
  return run.empty() || (run.size() == kRunDigits &&
                         run.find_first_not_of("0123456789abcdef") == std::string_view::npos);
}

std::vector<std::int64_t> epoch_numbers(FileOps& files, const std::filesystem::path& run_directory) {
  const auto folder = run_directory / kFolder;
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

std::optional<Epoch> read_epoch(FileOps& files, const std::filesystem::path& run_directory,
                                std::int64_t number) {
  try {
    const auto json = nlohmann::json::parse(
        read_text_file(files, run_directory / kFolder / name_of(number), kMaxBytes));
    Epoch epoch{number, run_in(json), std::nullopt};
    const auto& parent = json.at("parent");
    if (parent.is_null()) return epoch;
    epoch.parent = Origin{.epoch = hone::detail::integer_at(parent, "epoch"),
                          .step = hone::detail::integer_at(parent, "step"),
                          .run = run_in(parent)};
    return epoch;
  } catch (const CheckpointError& error) {  // more than an epoch ever has is none of hone's
    if (error.exit_code() != ExitCode::InvalidData) throw;
    return std::nullopt;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  } catch (const InputError&) {
    return std::nullopt;
  }
}

Epoch begin_epoch(FileOps& files, const std::filesystem::path& run_directory,
                  std::optional<Origin> parent) {
  const auto folder = run_directory / kFolder;
  ensure_directory(files, folder);
  // Whoever made the run directory may not have made it durable: without it all that it holds is lost.
  const auto parent_folder = run_directory.parent_path();
  sync_directory(files, parent_folder.empty() ? "." : parent_folder);
  const auto numbers = epoch_numbers(files, run_directory);
  const auto last = std::max(numbers.empty() ? 0 : numbers.back(), parent ? parent->epoch : 0);
  if (last >= kMaxEpoch) {
    throw CheckpointError{folder.string() + " has no room for another epoch. Use another output_dir",
                          ExitCode::Environment};
  }
  const bool goes_on = parent && !parent->run.empty();
  const Epoch epoch{last + 1, goes_on ? parent->run : make_nonce(), parent};
  // Creating fails where another has been quicker: two owners that know nothing of each other.
  write_new_file(files, folder / name_of(epoch.number), to_json(epoch));
  sync_directory(files, folder);
  return epoch;
}

void require_newest(FileOps& files, const std::filesystem::path& run_directory,
                    const Epoch& epoch) {
  const auto numbers = epoch_numbers(files, run_directory);
  if (numbers.empty() || numbers.back() <= epoch.number) return;
  throw CheckpointError{"another job has taken over " + run_directory.string() + " (epoch " +
                            std::to_string(numbers.back()) + ", this one is " +
                            std::to_string(epoch.number) +
                            "). Stop this one, or give it an output_dir of its own",
                        ExitCode::Environment};
}

}  // namespace hone::checkpoints::detail

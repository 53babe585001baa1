#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "file_io.hpp"
#include "hone/checkpoints/inspect.hpp"
#include "hone/core/logger.hpp"
#include "run_directory.hpp"
#include "verify.hpp"

namespace hone::checkpoints {
namespace {

using Paths = std::set<std::filesystem::path>;

/// Everything in the run directory that saves make, or made.
Paths entries_of(FileOps& files, const std::filesystem::path& run_directory) {
  Paths paths;
  for (const auto& entry : detail::list_directory(files, run_directory)) {
    if (entry.kind == EntryKind::Directory) paths.insert(run_directory / entry.name);
  }
  return paths;
}

Paths without(const Paths& some, const Paths& others) {
  Paths rest;
  std::ranges::set_difference(some, others, std::inserter(rest, rest.end()));
  return rest;
}

/// Keeps what went wrong, since a repair that did not happen must not be silent.
class Warnings final : public Logger {
 public:
  explicit Warnings(std::vector<std::string>& lines) : lines_(lines) {}
  void write(LogLevel level, std::string_view message) override {
    if (level == LogLevel::Warning) lines_.emplace_back(message);
  }

 private:
  std::vector<std::string>& lines_;
};

}  // namespace

bool has_leftovers(const std::filesystem::path& run_directory) {
  return detail::has_leftovers(real_file_ops(), run_directory);
}

RepairReport repair_run_directory(const std::filesystem::path& run_directory) {
  FileOps& files = real_file_ops();
  RepairReport report;
  auto& done = report.done;
  const auto name = [](const std::filesystem::path& path) { return path.filename().string(); };
  std::vector<std::pair<detail::FoundCheckpoint, std::string>> bad;
  const auto look_at_those_not_in = [&](const Paths& known) {
    const auto passed_over = passed_over_checkpoints(run_directory);
    for (const auto& found : detail::find_checkpoints(files, run_directory)) {
      if (known.contains(found.path)) continue;
      if (detail::is_of_later_version(files, found.path)) {
        done.push_back(name(found.path) + " is of a later version of hone, and stays");
        continue;
      }
      const auto problem = verify_checkpoint(found.path).problem;
      report.any_whole = report.any_whole || (!problem && !passed_over.contains(found.path));
      if (problem) bad.push_back({found, *problem});
    }
  };
  look_at_those_not_in({});
  // What a bad one had replaced may come in its place: it is renamed before the rest is looked at.
  const auto set_bad_ones_aside = [&] {
    for (const auto& [found, problem] : std::exchange(bad, {})) {
      const auto aside = detail::set_aside(files, found);
      done.push_back(name(found.path) + " is bad, and moved aside to " + name(aside) + ": " + problem);
    }
  };
  const auto is_replaced = [&](const std::filesystem::path& path) {
    return name(path).starts_with(".replaced-");
  };
  const auto before = entries_of(files, run_directory);
  if (report.any_whole || std::ranges::any_of(before, is_replaced)) set_bad_ones_aside();
  const auto remaining = entries_of(files, run_directory);
  detail::restore_replaced(files, run_directory);
  for (const auto& path : without(entries_of(files, run_directory), remaining)) {
    done.push_back(name(path) + " is put back");
  }
  look_at_those_not_in(remaining);
  if (report.any_whole) set_bad_ones_aside();
  for (const auto& [found, problem] : bad) {
    done.push_back(name(found.path) + " is bad, and stays, as none is whole: " + problem);
  }
  const auto all = entries_of(files, run_directory);
  Warnings log{done};
  detail::remove_leftovers(files, run_directory, log);
  for (const auto& path : without(all, entries_of(files, run_directory))) {
    if (detail::is_to_be_set_aside(name(path))) continue;  // a warning has said so
    done.push_back(name(path) + ", left by an interrupted save, is deleted");
  }
  if (!done.empty()) detail::sync_directory(files, run_directory);
  return report;
}

}  // namespace hone::checkpoints

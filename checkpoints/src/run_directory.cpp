#include "run_directory.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <random>

#include "file_io.hpp"
#include "hone/core/error.hpp"
#include "verify.hpp"

namespace hone::checkpoints::detail {
namespace {

constexpr std::string_view kCheckpointPrefix = "checkpoint-";
constexpr std::string_view kTemporaryPrefix = ".tmp-checkpoint-";
constexpr std::string_view kReplacedPrefix = ".replaced-checkpoint-";
constexpr std::string_view kTrashPrefix = ".trash-";
constexpr std::string_view kAsidePrefix = ".aside-checkpoint-";
constexpr std::string_view kToSetAside = ".aside";  ///< ends names of what was replaced and is to stay

enum class Of { Folders, Everything };

/// The names of what is in the run directory; none where it does not exist.
std::vector<std::string> names_in(FileOps& files, const std::filesystem::path& run_directory, Of what) {
  std::vector<DirectoryEntry> entries;
  const int result = files.list(run_directory, entries);
  if (result == -ENOENT) return {};
  if (result < 0) throw file_error("list", run_directory, -result);
  std::vector<std::string> names;
  for (const auto& entry : entries) {
    if (what == Of::Everything || entry.kind == EntryKind::Directory) names.push_back(entry.name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> folder_names(FileOps& files, const std::filesystem::path& run_directory) {
  return names_in(files, run_directory, Of::Folders);
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::binary_search(names.begin(), names.end(), name);
}

/// "checkpoint-12" for ".replaced-checkpoint-12-0123456789abcdef".
std::string published_name(std::string_view replaced) {
  const auto rest = replaced.substr(kReplacedPrefix.size());
  return std::string{kCheckpointPrefix}.append(rest.substr(0, rest.find('-')));
}

std::filesystem::path with_prefix(const std::filesystem::path& run_directory,
                                  std::string_view prefix, std::int64_t step,
                                  const std::string& nonce) {
  return run_directory / (std::string{prefix} + std::to_string(step) + '-' + nonce);
}

/// For people alone, once what has replaced it is there. Returns: its new name, not yet durable.
std::filesystem::path set_replaced_one_aside(FileOps& files,
                                             const std::filesystem::path& run_directory,
                                             const std::string& name) {
  auto aside = std::string{kAsidePrefix}.append(name, kReplacedPrefix.size());
  aside.resize(aside.size() - kToSetAside.size());
  rename(files, run_directory / name, run_directory / aside);
  return run_directory / aside;
}

bool is_plausible(FileOps& files, const std::filesystem::path& checkpoint) {
  try {
    return !plausibility_problem(files, checkpoint, read_manifest(files, checkpoint));
  } catch (const CheckpointError&) {
    return false;
  }
}

/// All of its bytes are read.
bool is_whole(FileOps& files, const std::filesystem::path& checkpoint) {
  try {
    return !digest_problem(files, checkpoint, regions_of(read_manifest(files, checkpoint)));
  } catch (const CheckpointError&) {
    return false;
  }
}

/// Renames folders into the trash, where half a folder does no harm, and makes that durable: not
/// even a power cut may show one of them half deleted under its old name.
void move_to_trash(FileOps& files, const std::filesystem::path& run_directory,
                   const std::vector<std::filesystem::path>& folders) {
  for (const auto& folder : folders) {
    rename(files, folder, run_directory / std::string{kTrashPrefix}.append(make_nonce()));
  }
  if (!folders.empty()) sync_directory(files, run_directory);
}

}  // namespace

std::string checkpoint_name(std::int64_t step) {
  return std::string{kCheckpointPrefix} + std::to_string(step);
}

std::optional<std::int64_t> step_of(std::string_view name) {
  if (!name.starts_with(kCheckpointPrefix)) return std::nullopt;
  const auto digits = name.substr(kCheckpointPrefix.size());
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (error != std::errc{} || step < 0 || checkpoint_name(step) != name) return std::nullopt;
  return step;
}

bool is_to_be_set_aside(std::string_view name) {
  return name.starts_with(kReplacedPrefix) && name.ends_with(kToSetAside);
}

void warn_of_aside(Logger& logger, const std::filesystem::path& checkpoint,
                   const std::filesystem::path& aside) {
  logger.warning(checkpoint.string() +
                 " is of a branch that the run has left, of another run or version, or bad: it is "
                 "moved aside, to " +
                 aside.filename().string());
}

std::string make_nonce() {
  std::random_device source;
  char text[17];
  std::snprintf(text, sizeof text, "%08x%08x", source(), source());
  return text;
}

std::vector<FoundCheckpoint> find_checkpoints(FileOps& files,
                                              const std::filesystem::path& run_directory) {
  std::vector<FoundCheckpoint> found;
  for (const auto& name : folder_names(files, run_directory)) {
    if (const auto step = step_of(name)) found.push_back({*step, run_directory / name});
  }
  std::sort(found.begin(), found.end(),
            [](const auto& left, const auto& right) { return left.step > right.step; });
  return found;
}

std::optional<std::int64_t> newest_step(FileOps& files, const std::filesystem::path& run_directory) {
  std::optional<std::int64_t> newest;
  for (const auto& name : folder_names(files, run_directory)) {
    newest = std::max(newest, step_of(name.starts_with(kReplacedPrefix) ? published_name(name) : name));
  }
  return newest;
}

void restore_replaced(FileOps& files, const std::filesystem::path& run_directory) {
  const auto names = folder_names(files, run_directory);
  std::set<std::string> restored;
  for (const auto& name : names) {
    if (!name.starts_with(kReplacedPrefix)) continue;
    const auto published = published_name(name);
    if (contains(names, published) || !restored.insert(published).second) continue;
    rename(files, run_directory / name, run_directory / published);
  }
  if (!restored.empty()) sync_directory(files, run_directory);
}

bool has_leftovers(FileOps& files, const std::filesystem::path& run_directory) {
  return std::ranges::any_of(folder_names(files, run_directory), [](const std::string& name) {
    return name.starts_with(kReplacedPrefix) || name.starts_with(kTemporaryPrefix) ||
           name.starts_with(kTrashPrefix);
  });
}

void remove_leftovers(FileOps& files, const std::filesystem::path& run_directory, Logger& logger) {
  try {
    restore_replaced(files, run_directory);
    std::vector<std::filesystem::path> replaced;
    for (const auto& name : folder_names(files, run_directory)) {
      if (name.starts_with(kReplacedPrefix) && !is_to_be_set_aside(name)) replaced.push_back(run_directory / name);
    }
    bool any_stays = false;
    // It may be a file or a link: somebody's that had a checkpoint's name.
    for (const auto& name : names_in(files, run_directory, Of::Everything)) {
      if (!is_to_be_set_aside(name)) continue;
      any_stays = true;
      warn_of_aside(logger, run_directory / published_name(name),
                    set_replaced_one_aside(files, run_directory, name));
    }
    if (any_stays) sync_directory(files, run_directory);
    move_to_trash(files, run_directory, replaced);
    for (const auto& name : folder_names(files, run_directory)) {
      if (name.starts_with(kTemporaryPrefix) || name.starts_with(kTrashPrefix)) {
        remove_tree(files, run_directory / name);
      }
    }
  } catch (const CheckpointError& error) {
    logger.warning(std::string{"an old folder is left: "} + error.what());
  }
}

std::filesystem::path make_temporary(FileOps& files, const std::filesystem::path& run_directory,
                                     std::int64_t step, const std::string& nonce) {
  ensure_directory(files, run_directory);
  auto path = with_prefix(run_directory, kTemporaryPrefix, step, nonce);
  make_directory(files, path);
  return path;
}

std::filesystem::path publish(FileOps& files, const std::filesystem::path& run_directory,
                              const std::filesystem::path& temporary, std::int64_t step,
                              const std::string& nonce, Former former) {
  const auto target = run_directory / checkpoint_name(step);
  auto replaced = with_prefix(run_directory, kReplacedPrefix, step, nonce);
  if (former == Former::IsSetAside) replaced += kToSetAside;
  const bool replaces = contains(names_in(files, run_directory, Of::Everything), checkpoint_name(step));
  if (replaces) rename(files, target, replaced);
  rename(files, temporary, target);
  try {
    sync_directory(files, run_directory);
  } catch (const CheckpointError& error) {
    throw CheckpointError{std::string{error.what()} + "; " + target.string() +
                              " is complete, but a power cut might undo it",
                          error.exit_code()};
  }
  return target;
}

void trash_surplus(FileOps& files, const std::filesystem::path& run_directory,
                   const Retention& retention, const std::filesystem::path& written,
                   const std::set<std::filesystem::path>& refused,
                   const std::set<std::filesystem::path>& good) {
  const auto is_kept_beside = [&](std::int64_t step) {
    return step == retention.best_step || (retention.every && step % *retention.every == 0);
  };
  const int limit = std::max(retention.limit, Retention::kLeast);
  int kept = 1;
  std::vector<std::filesystem::path> surplus;
  for (const auto& [step, path] : find_checkpoints(files, run_directory)) {
    if (path == written || refused.contains(path) || !is_plausible(files, path)) continue;
    if (kept < Retention::kLeast && !good.contains(path) && !is_whole(files, path)) continue;
    if (++kept > limit && !is_kept_beside(step)) surplus.push_back(path);
  }
  move_to_trash(files, run_directory, surplus);
}

std::filesystem::path set_aside(FileOps& files, const FoundCheckpoint& checkpoint) {
  const auto aside =
      with_prefix(checkpoint.path.parent_path(), kAsidePrefix, checkpoint.step, make_nonce());
  rename(files, checkpoint.path, aside);
  return aside;
}

}  // namespace hone::checkpoints::detail

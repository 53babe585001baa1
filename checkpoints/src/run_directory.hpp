#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "hone/checkpoints/file_ops.hpp"
#include "hone/core/logger.hpp"
#include "manifest.hpp"

/// What rank 0 does with the folders of a run directory. The names:
///   checkpoint-<step>                    published
///   .tmp-checkpoint-<step>-<nonce>       being written
///   .replaced-checkpoint-<step>-<nonce>  the old one of a step that is published again; whole. Where
///                                        ".aside" follows it is not deleted but set aside
///   .trash-<nonce>                       being deleted
///   .aside-checkpoint-<step>-<nonce>     newer than where a run went on; for people alone
namespace hone::checkpoints::detail {

struct FoundCheckpoint {
  std::int64_t step = 0;
  std::filesystem::path path;
};

/// "checkpoint-12".
std::string checkpoint_name(std::int64_t step);

/// 12 for "checkpoint-12"; none for every name that checkpoint_name() does not give.
std::optional<std::int64_t> step_of(std::string_view name);

/// 16 hexadecimal characters that no other save has.
std::string make_nonce();

/// Newest first; empty where the run directory does not exist.
std::vector<FoundCheckpoint> find_checkpoints(FileOps& files,
                                              const std::filesystem::path& run_directory);

/// Puts back the old checkpoint of a replacement that was interrupted between its two renames.
void restore_replaced(FileOps& files, const std::filesystem::path& run_directory);

/// Whether there is something for remove_leftovers() to put back or delete.
bool has_leftovers(FileOps& files, const std::filesystem::path& run_directory);

/// restore_replaced(), then deletes what saves, ended or interrupted, left behind: temporary,
/// replaced and trash folders; replaced ones that are to stay it sets aside. Failure is a warning: no
/// checkpoint depends on what goes, and nothing is deleted where putting back failed.
void remove_leftovers(FileOps& files, const std::filesystem::path& run_directory, Logger& logger);

/// Whether this is the name of a replaced one that is not to be deleted.
bool is_to_be_set_aside(std::string_view name);

/// What a warning says of one that was renamed to `aside`.
void warn_of_aside(Logger& logger, const std::filesystem::path& checkpoint,
                   const std::filesystem::path& aside);

/// What becomes of a checkpoint in whose place another one is published.
enum class Former { IsDeleted, IsSetAside };

/// Creates a temporary folder for a checkpoint, and the run directory if need be.
std::filesystem::path make_temporary(FileOps& files, const std::filesystem::path& run_directory,
                                     std::int64_t step, const std::string& nonce);

/// Of the newest checkpoint, valid or not, or of what restore_replaced() would put back.
std::optional<std::int64_t> newest_step(FileOps& files, const std::filesystem::path& run_directory);

/// Renames a complete temporary folder to checkpoint-<step> and makes that durable. One that is
/// there already is renamed first; restore_replaced() undoes that where the second rename fails, and
/// remove_leftovers() does with it what `former` says.
std::filesystem::path publish(FileOps& files, const std::filesystem::path& run_directory,
                              const std::filesystem::path& temporary, std::int64_t step,
                              const std::string& nonce, Former former);

/// Which checkpoints stay after a save.
struct Retention {
  int limit = kLeast;                       ///< so many of the newest, but never fewer than kLeast
  std::optional<std::int64_t> every;        ///< beside them those of a step that this divides
  std::optional<std::int64_t> best_step{};  ///< and this one

  static constexpr int kLeast = 2;  ///< where the newest turns out to be bad, there is another
};

/// Renames what `retention` does not keep into the trash; remove_leftovers() deletes it. `written`
/// stays and counts as one. What cannot be a checkpoint by its manifest and the lengths of its
/// files, and `refused` ones, stay and do not count. Those that kLeast stands for are whole: `good`,
/// which has `written`, or read to the last byte here.
void trash_surplus(FileOps& files, const std::filesystem::path& run_directory,
                   const Retention& retention, const std::filesystem::path& written,
                   const std::set<std::filesystem::path>& refused,
                   const std::set<std::filesystem::path>& good);

/// Renames a checkpoint aside, where nothing takes it for one any more.
/// Returns: its new name, not yet durable.
std::filesystem::path set_aside(FileOps& files, const FoundCheckpoint& checkpoint);

}  // namespace hone::checkpoints::detail

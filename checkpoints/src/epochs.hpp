#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hone/checkpoints/file_ops.hpp"
#include "manifest.hpp"

/// Who may write in a run directory. Each start that goes on or saves begins an epoch, by a file that
/// only one can create: epochs/000003.json. It says of which run it is, and from which checkpoint it
/// began, so that what an earlier owner publishes behind that, because it was stopped and woke up or
/// because the run has left its branch, is never taken for this run's (lineage.hpp).
namespace hone::checkpoints::detail {

struct Epoch {
  std::int64_t number = 0;
  std::string run;               ///< as its checkpoints have it
  std::optional<Origin> parent;  ///< none: it began with nothing
};

/// Whether somebody's `run` is one that hone gives, or none.
bool is_run_name(std::string_view run);

/// Begins the next one, durably: of the parent's run, or of a new one. Throws: CheckpointError.
Epoch begin_epoch(FileOps& files, const std::filesystem::path& run_directory,
                  std::optional<Origin> parent);

/// Throws: CheckpointError, Environment, where a later epoch has begun: no disk's fault, and no save
/// will ever succeed again.
void require_newest(FileOps& files, const std::filesystem::path& run_directory, const Epoch& epoch);

/// Of those that have begun; ascending.
std::vector<std::int64_t> epoch_numbers(FileOps& files, const std::filesystem::path& run_directory);

/// None where its file is torn: its owner died before it did anything.
std::optional<Epoch> read_epoch(FileOps& files, const std::filesystem::path& run_directory,
                                std::int64_t number);

}  // namespace hone::checkpoints::detail

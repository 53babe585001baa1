#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "epochs.hpp"
#include "hone/checkpoints/file_ops.hpp"
#include "manifest.hpp"

/// Which checkpoints of a run directory are of its run.
namespace hone::checkpoints::detail {

struct TracedCheckpoint {
  std::filesystem::path path;
  std::optional<Origin> origin;  ///< none where this program does not read the manifest
  /// Why no start goes on from it; none where it is, or may be, of the run.
  std::optional<std::string> passed_over = std::nullopt;
};

/// Newest first. The run is that of the newest epoch that has a checkpoint here: one that has none
/// leaves nothing, as it may have ended before it did anything. Of the run is what this epoch has, and
/// what lies on the way back from where it began, as far as epochs are there to tell. What is from
/// before there were epochs all is, and what names no run is of none that another could be of.
/// Throws: CheckpointError where the folder or its epochs cannot be read.
std::vector<TracedCheckpoint> trace_checkpoints(FileOps& files,
                                                const std::filesystem::path& run_directory);

/// Whether the owner that `epoch` is of wrote a checkpoint.
bool is_written_in(FileOps& files, const std::filesystem::path& checkpoint, const Epoch& epoch);

/// Or began from it: what it saves of that step is the same again.
bool is_own(FileOps& files, const std::filesystem::path& checkpoint, const Epoch& epoch);

}  // namespace hone::checkpoints::detail

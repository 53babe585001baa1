#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "hone/checkpoints/file_ops.hpp"
#include "manifest.hpp"

/// Who may write in a run directory, and which checkpoints are of the run. Each start that goes on
/// or saves begins an epoch, by a file that only one can create: epochs/000003.json. It says which
/// checkpoint the epoch began from, so that what an earlier owner publishes behind that, because it
/// was stopped and woke up or because the run has left its branch, is never taken for this run's.
namespace hone::checkpoints::detail {

struct Epoch {
  std::int64_t number = 0;
  std::optional<Origin> parent;  ///< none: it began with nothing
};

/// Begins the next one, durably. Throws: CheckpointError.
Epoch begin_epoch(FileOps& files, const std::filesystem::path& run_directory,
                  std::optional<Origin> parent);

/// Throws: CheckpointError, Environment, where a later epoch has begun: no disk's fault, and no save
/// will ever succeed again.
void require_newest(FileOps& files, const std::filesystem::path& run_directory, const Epoch& epoch);

/// The newest epoch that has a checkpoint, and what it came from. One that has none leaves nothing:
/// it may have ended before it did anything. Without any epoch all is of the run, as it was before
/// there were epochs.
class Lineage {
 public:
  /// `present`: the checkpoints that there are. Throws: CheckpointError where epochs cannot be read.
  Lineage(FileOps& files, const std::filesystem::path& run_directory,
          std::span<const Origin> present);

  /// Whether the run has a checkpoint of that epoch and step behind it.
  bool has(const Origin& checkpoint) const;

 private:
  std::vector<Origin> ends_;  ///< of each epoch on the way back the last step that counts
};

}  // namespace hone::checkpoints::detail

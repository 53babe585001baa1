#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
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

/// Throws: CheckpointError, RunHeld, where a later epoch has begun.
void require_newest(FileOps& files, const std::filesystem::path& run_directory, const Epoch& epoch);

/// The newest epoch and what it came from. Without any epoch all is of the run, as it was before
/// there were epochs.
class Lineage {
 public:
  /// Throws: CheckpointError where the folder of epochs cannot be read.
  Lineage(FileOps& files, const std::filesystem::path& run_directory);

  /// Whether the run has a checkpoint of that epoch and step behind it.
  bool has(const Origin& checkpoint) const;
  /// 0: there is none.
  std::int64_t newest() const { return newest_; }

 private:
  std::int64_t newest_ = 0;
  std::vector<Origin> ends_;  ///< of each epoch on the way back the last step that counts
};

}  // namespace hone::checkpoints::detail

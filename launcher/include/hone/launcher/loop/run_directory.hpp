#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/core/logger.hpp"
#include "hone/launcher/loop/metrics_log.hpp"
#include "hone/launcher/loop/run_lock.hpp"
#include "hone/launcher/loop/sample_record.hpp"

namespace hone::launcher {

/// The folder of one run. Only rank 0 touches the disk, so no other node has to see it:
///   .lock                     who is running here
///   config.yaml               the resolved configuration
///   metrics.jsonl             one record a line
///   samples/round-0003.jsonl  every completion of a round
/// Checkpoints, logs and the final model lie beside these.
///
/// Throws: every collective method the same Error on every rank, with rank 0's exit code: Io, or
/// RunHeld where there is no space.
/// Ownership: the communicator and the logger outlive it. Neither copied nor moved.
/// Thread-safety: one thread at a time.
class RunDirectory {
 public:
  static constexpr const char* kMetricsFile = "metrics.jsonl";

  /// Creates and locks the folder. It is refused where starting as `resume_from_checkpoint` says
  /// would mix two runs or write over a model:
  ///   false   there is a run or a model already (one that stopped before it had made anything
  ///           does not count)
  ///   auto    there is a model but no checkpoint
  ///   a path  as for false, where the checkpoint is another folder's; else where there are newer
  ///           checkpoints than it, which would then belong to a run given up
  /// Collective.
  /// Throws: Error with ExitCode::Usage where it is refused or is no folder, RunHeld where another
  /// process runs here, and as above.
  RunDirectory(Communicator& comm, std::filesystem::path path,
               const std::string& resume_from_checkpoint, Logger& logger);
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// samples/round-0003.jsonl for 3.
  std::filesystem::path samples_file(std::int64_t round) const;

  /// The text of config.yaml as the last start of the run left it that is gone on with, on every
  /// rank; empty where there is none. Collective.
  std::string read_config();
  /// Replaces config.yaml, durably. Collective; rank 0's text counts.
  void write_config(std::string_view yaml);

  /// Writes what all ranks sampled in a round, sorted by (prompt_index, k), replacing an earlier
  /// file of that round, durably. Collective; a rank without samples passes none. Returns the file's
  /// SHA-256, on every rank.
  std::string write_samples(std::int64_t round, std::span<const SampleRecord> mine);

  /// All samples of a round on every rank, or none where the round has no file: to go on in the
  /// middle of a round with what was already sampled and judged. Where the run goes on from another
  /// run's checkpoint, that run's file is copied first. Collective.
  /// Throws: Error with ExitCode::InvalidData (file:line) where the file is damaged, or is not the one
  /// of `digest`, which may be empty; and as above.
  std::optional<std::vector<SampleRecord>> read_samples(std::int64_t round,
                                                        const std::string& digest = {});

  /// Rank 0 appends a record to metrics.jsonl; nothing on others. Not collective, never throws: see
  /// MetricsLog.
  void append_metrics(std::string_view json_object) noexcept;

  /// Drops the metrics that a run resumed at (step, round) will write again: see MetricsLog.
  /// Collective.
  void discard_metrics_after(std::int64_t step, std::int64_t round);

 private:
  template <typename Function>
  void on_rank_zero(Function&& function);

  Communicator& comm_;
  std::filesystem::path path_;
  std::filesystem::path origin_;  ///< the run whose checkpoint is gone on from; rank 0 only
  MetricsLog metrics_;
  std::optional<RunLock> lock_;  ///< rank 0 only
};

}  // namespace hone::launcher

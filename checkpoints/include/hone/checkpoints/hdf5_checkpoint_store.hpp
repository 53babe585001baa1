#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "hone/checkpoints/file_ops.hpp"
#include "hone/core/checkpoint_store.hpp"
#include "hone/core/communicator.hpp"
#include "hone/core/logger.hpp"

namespace hone::checkpoints {

namespace detail {
struct Epoch;
struct Manifest;
struct Origin;
struct SavePlan;
class SaveInFlight;
class SnapshotBuffer;
}  // namespace detail

struct StoreOptions {
  /// Holds checkpoint-<step>/; created by the first save.
  std::filesystem::path run_directory;
  /// How many checkpoints stay after a save: the newest, at least two whatever is said. None keeps
  /// all.
  std::optional<int> save_total_limit;
  /// Beside them those after a multiple of so many updates, and the best.
  std::optional<std::int64_t> save_keep_steps = std::nullopt;
  /// A file of run_directory that the run appends to, if any: whoever resumes from a checkpoint does
  /// not write again what it held by then, so that is durable before the checkpoint is published.
  std::string log_file = {};
};

/// Checkpoints as folders of HDF5 files, one per rank, with a manifest that vouches for every byte.
/// The format is described in checkpoints/FORMAT.md.
///
/// Collective: every method but prepare_saves() and save_is_settled(), and nothing else; only rank 0
/// lists, creates, renames and removes folders, and only rank 0 logs.
/// Ownership: communicator, logger and `files` must outlive the store. One that is destroyed with a
/// save in flight waits for it, but on rank 0 only some seconds for the other ranks' shares.
/// Thread-safety: one thread at a time. `files` and `logger` are used by a thread of the store's,
/// too, from start_save() to finish_save().
/// Throws: CheckpointError on every rank alike. Exit code RunHeld where there is no space, Io where
/// the file system fails, MissingInput where a named checkpoint is not there, InvalidData where it
/// is damaged or does not fit, Internal where the ranks passed different content.
/// CommunicatorError where peers are lost.
class Hdf5CheckpointStore final : public CheckpointStore {
 public:
  /// `files` nullptr means the real file system.
  /// Throws: ConfigError where save_total_limit or save_keep_steps is below 1.
  Hdf5CheckpointStore(Communicator& communicator, Logger& logger, StoreOptions options,
                      FileOps* files = nullptr);
  ~Hdf5CheckpointStore() override;

  /// Replaces a checkpoint of the same step: until the new one is in place the old one can be
  /// found. Tensor names are paths of letters, digits, '.', '_' and '-', at most 256 characters;
  /// `state_json` must be JSON.
  std::filesystem::path save(const CheckpointContent& content) override;

  void require_room(std::span<const TensorBytes> tensors) override;
  void prepare_saves(std::span<const TensorBytes> tensors) override;
  void start_save(const CheckpointContent& content) override;
  bool save_is_settled() const override;
  std::filesystem::path finish_save() override;

  bool load_newest(const Load& load) override;
  void load_verified(const std::filesystem::path& checkpoint, const Load& load) override;
  std::string load_state(const std::filesystem::path& checkpoint) override;

  /// Any number of ranks loads what any other number wrote; each rank reads all that it asks for.
  void load_tensors(const std::filesystem::path& checkpoint,
                    std::span<const TensorBytes> tensors) override;

  void go_on_from(const std::filesystem::path& checkpoint) override;

 private:
  enum class Source { Callers, Copies };
  void begin(const CheckpointContent& content, Source source);
  void launch(const CheckpointContent& content, Source source);
  void publish(const detail::SavePlan& plan, const detail::Manifest& manifest);
  void sync_log();
  void retain(const std::filesystem::path& written, std::optional<std::int64_t> best_step);
  void settle_stray_save();
  void abandon_save();
  void void_save();
  bool is_owner();
  void begin_epoch(const std::optional<detail::Origin>& parent);
  std::optional<detail::Origin> presumed_parent(std::int64_t step);
  void collect_others_of_run_directory();
  void set_left_ones_aside(const std::filesystem::path& written);
  std::optional<std::string> problem_of(const std::filesystem::path& checkpoint, const Load& load);
  void load_whole(const std::filesystem::path& checkpoint, const Load& load);
  std::vector<std::string> list_everywhere();

  Communicator& communicator_;
  Logger& logger_;
  StoreOptions options_;
  FileOps& files_;
  /// What load_tensors() has read and found good since load_whole() began: detail::VerifiedEntries.
  std::set<std::pair<std::string, std::int64_t>> verified_;
  std::unique_ptr<detail::Epoch> epoch_;  ///< rank 0: from go_on_from() or the first save on
  /// Rank 0: what the next save is to set aside.
  std::vector<std::filesystem::path> left_;
  bool is_afresh_ = false;   ///< load_newest() has found no checkpoint
  std::optional<std::filesystem::path> loaded_;  ///< what it has loaded
  bool has_misfit_ = false;  ///< load_tensors() was asked for what the checkpoint is not of
  /// Rank 0: what was refused. Kept out of retention: evidence, and not a checkpoint.
  std::set<std::filesystem::path> refused_;
  std::set<std::filesystem::path> good_;  ///< what was written or read here, to the last byte
  std::unique_ptr<detail::SnapshotBuffer> snapshot_;
  std::chrono::steady_clock::time_point save_began_;
  std::unique_ptr<detail::SaveInFlight> in_flight_;  ///< the last member: its thread uses the others
};

}  // namespace hone::checkpoints

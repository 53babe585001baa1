#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "hone/checkpoints/file_ops.hpp"
#include "manifest.hpp"
#include "rank_file.hpp"
#include "save_plan.hpp"

namespace hone::checkpoints::detail {

/// One save on its way to the disk, on a thread of its own, which never communicates but by files:
/// each rank writes its share and leaves a note, rank 0 waits for all notes, writes the manifest
/// last, and publishes.
/// Thread-safety: one thread calls; the writer's own is the other.
class SaveInFlight {
 public:
  /// `publish`, on rank 0's writer: makes the sealed folder the checkpoint.
  using Publish = std::function<void(const SavePlan&, const Manifest&)>;

  SaveInFlight(FileOps& files, SavePlan plan, Publish publish);
  /// As end_alone().
  ~SaveInFlight();
  SaveInFlight(const SaveInFlight&) = delete;
  SaveInFlight& operator=(const SaveInFlight&) = delete;

  const SavePlan& plan() const { return plan_; }
  /// Whether there is something to tell the other ranks: this one has failed or, on rank 0, the
  /// checkpoint is published.
  bool is_settled() const;
  /// Return when this rank's share is on the disk and, on rank 0, when the checkpoint is published.
  /// Throw what the writer met.
  void wait_for_share();
  void wait_for_end();
  /// Rank 0 is not to wait for shares that are not there yet.
  void give_up();
  /// All ranks have left their notes: rank 0 waits for them to be seen, no longer than a file system
  /// may take for that.
  void expect_notes();
  /// Waits for the writer, on rank 0 for kPatience for the other ranks' shares when its own is there.
  /// What the writer met; empty where all is well.
  std::string end_alone();

  static constexpr std::chrono::seconds kPatience{10};

 private:
  using Clock = std::chrono::steady_clock;
  enum class Stage { Writing, ShareWritten, Ended };

  void run();
  void enter(Stage stage, std::exception_ptr failure = nullptr);
  void wait_for(Stage stage);
  Manifest gathered(RankContribution mine);
  RankContribution contribution_of(int rank);
  void wait_no_longer_than(Clock::time_point until);

  FileOps& files_;
  SavePlan plan_;
  Publish publish_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Stage stage_ = Stage::Writing;
  std::exception_ptr failure_;
  Clock::time_point until_ = Clock::time_point::max();  ///< rank 0 waits for shares
  std::thread writer_;  ///< the last member: it uses the others
};

}  // namespace hone::checkpoints::detail

#pragma once

#include <mpi.h>

#include <chrono>
#include <optional>
#include <vector>

namespace hone::launcher {

/// With what a rank comes to the end.
struct Departure {
  int code = 0;
  bool failed = false;
};

/// The rank whose failure is shown and whose code all ranks leave with: the lowest that failed of
/// itself, else the lowest that failed. One that lost another rank (75) does not know the cause.
/// None where no rank failed.
std::optional<int> rank_that_tells(const std::vector<Departure>& all);

/// Where ranks find out whether all of them leave, and how, without waiting for ever for one that
/// is still in a collective of another communicator.
/// Collective: construction. Thread-safety: one thread at a time.
class ExitMeeting {
 public:
  ExitMeeting();

  ExitMeeting(const ExitMeeting&) = delete;
  ExitMeeting& operator=(const ExitMeeting&) = delete;

  /// Every rank's departure, in rank order, once all ranks are here; none where some did not come
  /// in time: then only MPI_Abort is left. Without `patience` this waits for all. Called once.
  std::optional<std::vector<Departure>> meet(
      const Departure& mine, std::optional<std::chrono::milliseconds> patience);

 private:
  // Never freed: when it is no longer needed ranks may be out of step, and MPI ends right after.
  MPI_Comm comm_ = MPI_COMM_NULL;
  std::vector<int> received_;  ///< must outlive an operation that never completes
  int sent_[2] = {};
};

}  // namespace hone::launcher

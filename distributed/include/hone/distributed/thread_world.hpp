#pragma once

#include <functional>

#include "hone/core/communicator.hpp"

namespace hone::distributed {

/// Ranks as threads of one process: multi-rank logic without mpirun. Reductions add in rank order,
/// so all ranks get the same bits and a run repeats itself exactly.
///
/// Thread-safety: run() from one thread at a time.
class ThreadWorld {
 public:
  /// Throws: ConfigError where `num_ranks` is less than 1.
  explicit ThreadWorld(int num_ranks);

  /// Calls `body` once per rank, each in a thread of its own with its own Communicator (which lives
  /// as long as that call), and returns when all of them have ended. Every run is a new world.
  ///
  /// Nothing hangs when ranks fall out of step: where they call different operations (or the same
  /// one with another count, type or root), where a rank throws, aborts, or returns while others
  /// wait, all waiting and later collectives throw CommunicatorError; it names the ranks, the
  /// number of the collective and the calls.
  ///
  /// Throws: the exception of the rank that failed first; CommunicatorError with the given exit
  /// code where a rank called abort() and no rank threw.
  void run(const std::function<void(Communicator&)>& body);

 private:
  int num_ranks_;
};

}  // namespace hone::distributed

#pragma once

#include <array>
#include <chrono>
#include <cstddef>

namespace hone {

/// What the time of a step() call goes into.
enum class Phase {
  Data,       ///< checking, exchanging and collating samples
  Forward,    ///< the output layer's loss and its gradient included: they are one pass
  Backward,
  Reduce,     ///< gradients and counts over all ranks; waiting for slower ranks included
  Optimizer,  ///< norm, clipping, update
  Evaluate,   ///< what callbacks do included
  Checkpoint,
};
constexpr std::size_t kNumPhases = 7;

/// Adds up the time of each phase, as the host sees it.
class PhaseClock {
 public:
  /// Ends the running stretch of time: it was spent on `phase`.
  void lap(Phase phase) {
    const auto now = std::chrono::steady_clock::now();
    seconds_[static_cast<std::size_t>(phase)] +=
        std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }
  /// Units: seconds, by Phase.
  const std::array<double, kNumPhases>& seconds() const { return seconds_; }

 private:
  std::array<double, kNumPhases> seconds_{};
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace hone

#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <string_view>

#include "hone/core/activity.hpp"

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
constexpr std::array<std::string_view, kNumPhases> kPhaseNames{
    "data", "forward", "backward", "reduce", "optimizer", "evaluate", "checkpoint"};

/// Adds up the time of each phase, as the host sees it.
class PhaseClock {
 public:
  /// Begins in Phase::Data. `activity` is told of every phase; null: nobody is.
  explicit PhaseClock(Activity* activity) : activity_(activity) { enter(Phase::Data); }

  void enter(Phase phase) {
    stop();
    phase_ = phase;
    // Most updates evaluate and save nothing: those that do take as long as they take.
    const bool is_regular = phase != Phase::Evaluate && phase != Phase::Checkpoint;
    if (activity_ != nullptr) {
      activity_->enter(kPhaseNames[static_cast<std::size_t>(phase)], is_regular);
    }
  }
  /// The running stretch of time ends.
  void stop() {
    const auto now = std::chrono::steady_clock::now();
    seconds_[static_cast<std::size_t>(phase_)] +=
        std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }
  /// Units: seconds, by Phase.
  const std::array<double, kNumPhases>& seconds() const { return seconds_; }

 private:
  Activity* activity_;
  Phase phase_ = Phase::Data;
  std::array<double, kNumPhases> seconds_{};
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace hone

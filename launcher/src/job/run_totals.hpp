#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>

#include "hone/core/training/step_stats.hpp"

namespace hone::launcher {

/// What the step() calls since this start did, together.
class RunTotals {
 public:
  /// Time counts from here on.
  void start() { started_ = std::chrono::steady_clock::now(); }
  void add(const StepStats& stats);

  /// Counts, times and memory alone.
  const StepStats& sums() const { return sums_; }
  /// Under transformers' names where it has them; docs/outputs.md lists the keys.
  nlohmann::ordered_json record() const;

 private:
  StepStats sums_;
  double loss_times_weight_ = 0.0;
  std::chrono::steady_clock::time_point started_ = {};
};

}  // namespace hone::launcher

#include "job/run_totals.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

namespace hone::launcher {

void RunTotals::add(const StepStats& stats) {
  sums_.updates += stats.updates;
  sums_.skipped += stats.skipped;
  sums_.non_finite += stats.non_finite;
  sums_.truncated += stats.truncated;
  sums_.num_samples += stats.num_samples;
  sums_.num_tokens += stats.num_tokens;
  sums_.input_tokens += stats.input_tokens;
  sums_.target_weight += stats.target_weight;
  loss_times_weight_ += stats.loss * stats.target_weight;
  for (std::size_t i = 0; i < kNumPhases; ++i) sums_.phase_times[i] += stats.phase_times[i];
  sums_.peak_memory = std::max(sums_.peak_memory, stats.peak_memory);
}

nlohmann::ordered_json RunTotals::record() const {
  const double runtime =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  const auto per_second = [&](std::int64_t count) {
    return static_cast<double>(count) / std::max(runtime, 1e-9);
  };
  nlohmann::ordered_json record{
      {"kind", "train"},
      {"train_runtime", runtime},
      {"train_samples_per_second", per_second(sums_.num_samples)},
      {"train_steps_per_second", per_second(sums_.updates)},
      {"train_loss", sums_.target_weight > 0 ? loss_times_weight_ / sums_.target_weight : 0.0},
      {"updates", sums_.updates},
      {"skipped", sums_.skipped},
      {"non_finite", sums_.non_finite},
      {"truncated", sums_.truncated},
      {"num_samples", sums_.num_samples},
      {"num_tokens", sums_.num_tokens},
      {"input_tokens", sums_.input_tokens}};
  for (std::size_t i = 0; i < kNumPhases; ++i) {
    record[std::string{kPhaseNames[i]} + "_time"] = sums_.phase_times[i];
  }
  record["peak_memory"] = sums_.peak_memory;
  return record;
}

}  // namespace hone::launcher

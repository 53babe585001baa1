#include "hone/core/training/step_stats.hpp"

#include <cstdio>

namespace hone {

std::vector<std::pair<std::string, double>> StepStats::to_map() const {
  const auto number = [](std::int64_t value) { return static_cast<double>(value); };
  std::vector<std::pair<std::string, double>> all{{"step", number(step)},
          {"updates", number(updates)},
          {"skipped", number(skipped)},
          {"non_finite", number(non_finite)},
          {"loss", loss},
          {"grad_norm", grad_norm},
          {"learning_rate", learning_rate},
          {"num_samples", number(num_samples)},
          {"num_tokens", number(num_tokens)},
          {"target_weight", target_weight},
          {"input_tokens", number(input_tokens)},
          {"truncated", number(truncated)},
          {"tokens_per_second", tokens_per_second},
          {"step_time", step_time},
          {"data_time", phase_times[0]},
          {"forward_time", phase_times[1]},
          {"backward_time", phase_times[2]},
          {"reduce_time", phase_times[3]},
          {"optimizer_time", phase_times[4]},
          {"evaluate_time", phase_times[5]},
          {"checkpoint_time", phase_times[6]},
          {"slowest_rank", number(slowest_rank)},
          {"skew", skew},
          {"peak_memory", number(peak_memory)}};
  all.insert(all.end(), eval.begin(), eval.end());
  return all;
}

std::vector<std::pair<std::string, double>> LogRecord::to_map() const {
  return {{"step", static_cast<double>(step)},
          {"loss", loss},
          {"grad_norm", grad_norm},
          {"learning_rate", learning_rate}};
}

std::string LogRecord::summary() const {
  char line[128];
  std::snprintf(line, sizeof line, "step=%lld loss=%.5f grad_norm=%.4f learning_rate=%.3g",
                static_cast<long long>(step), loss, grad_norm, learning_rate);
  return line;
}

std::string StepStats::summary() const {
  char line[256];
  std::snprintf(line, sizeof line,
                "step=%lld updates=%lld loss=%.5f grad_norm=%.4f learning_rate=%.3g samples=%lld "
                "tokens=%lld tokens_per_second=%.0f",
                static_cast<long long>(step), static_cast<long long>(updates), loss, grad_norm,
                learning_rate, static_cast<long long>(num_samples),
                static_cast<long long>(num_tokens), tokens_per_second);
  return line;
}

}  // namespace hone

#pragma once

#include <cstdint>
#include <string>

namespace hone {

enum class ScheduleKind { Constant, ConstantWithWarmup, Linear, Cosine };

/// "constant", "constant_with_warmup", "linear" or "cosine". Throws: ConfigError naming these.
ScheduleKind parse_schedule(const std::string& name);

/// The learning rate of each optimizer update, as a pure function of the update's index.
/// Source: transformers' optimization.py; unlike it cosine never rises again past the end.
struct LrSchedule {
  ScheduleKind kind = ScheduleKind::Linear;
  double learning_rate = 5e-5;     ///< peak
  std::int64_t warmup_steps = 0;   ///< update 0 has rate 0 where > 0
  std::int64_t max_steps = -1;     ///< end of the decay; a decaying kind needs it

  /// Throws: ConfigError where a decaying kind has no max_steps.
  void validate() const;
  /// `update` counts from 0.
  double at(std::int64_t update) const;
};

}  // namespace hone

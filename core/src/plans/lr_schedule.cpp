#include "hone/core/training/lr_schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "hone/core/error.hpp"

namespace hone {

ScheduleKind parse_schedule(const std::string& name) {
  if (name == "constant") return ScheduleKind::Constant;
  if (name == "constant_with_warmup") return ScheduleKind::ConstantWithWarmup;
  if (name == "linear") return ScheduleKind::Linear;
  if (name == "cosine") return ScheduleKind::Cosine;
  throw ConfigError{"lr_scheduler_type \"" + name +
                    "\" is not known. Use constant, constant_with_warmup, linear or cosine"};
}

void LrSchedule::validate() const {
  const bool decays = kind == ScheduleKind::Linear || kind == ScheduleKind::Cosine;
  if (decays && max_steps <= 0) {
    throw ConfigError{"a decaying lr_scheduler_type needs max_steps > 0 to know where it ends. Set "
                      "max_steps, or lr_scheduler_type constant"};
  }
}

double LrSchedule::at(std::int64_t update) const {
  // Plain "constant" has no warm-up, as in transformers.
  if (kind == ScheduleKind::Constant) return learning_rate;
  if (update < warmup_steps) {
    return learning_rate * static_cast<double>(update) / static_cast<double>(warmup_steps);
  }
  if (kind == ScheduleKind::ConstantWithWarmup) return learning_rate;
  const auto span = std::max<std::int64_t>(1, max_steps - warmup_steps);
  const double progress =
      std::min(1.0, static_cast<double>(update - warmup_steps) / static_cast<double>(span));
  if (kind == ScheduleKind::Linear) return learning_rate * (1.0 - progress);
  return learning_rate * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
}

}  // namespace hone

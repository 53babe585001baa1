#include "hone/core/training/lr_schedule.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "hone/core/error.hpp"

namespace hone {
namespace {

constexpr std::array<std::pair<const char*, ScheduleKind>, 9> kNames{{
    {"constant", ScheduleKind::Constant},
    {"constant_with_warmup", ScheduleKind::ConstantWithWarmup},
    {"linear", ScheduleKind::Linear},
    {"cosine", ScheduleKind::Cosine},
    {"cosine_with_restarts", ScheduleKind::CosineWithRestarts},
    {"cosine_with_min_lr", ScheduleKind::CosineWithMinLr},
    {"polynomial", ScheduleKind::Polynomial},
    {"inverse_sqrt", ScheduleKind::InverseSqrt},
    {"warmup_stable_decay", ScheduleKind::WarmupStableDecay},
}};

/// From 1 down and up again, `cycles` times while p goes from 0 to 1.
double cosine(double p, double cycles) {
  return 0.5 * (1.0 + std::cos(2.0 * std::numbers::pi * cycles * p));
}

/// From 1 to 0 while p goes from 0 to 1.
double decay(DecayKind kind, double p) {
  switch (kind) {
    case DecayKind::Linear: return 1.0 - p;
    case DecayKind::OneMinusSqrt: return 1.0 - std::sqrt(p);
    case DecayKind::Cosine: break;
  }
  return cosine(p, 0.5);
}

double above_floor(double factor, double floor) { return factor * (1.0 - floor) + floor; }

void require(bool holds, const std::string& message) {
  if (!holds) throw ConfigError{message};
}

}  // namespace

ScheduleKind parse_schedule(const std::string& name) {
  std::string known;
  for (const auto& [each, kind] : kNames) {
    if (name == each) return kind;
    known += (known.empty() ? "" : ", ") + std::string{each};
  }
  throw ConfigError{"lr_scheduler_type \"" + name + "\" is not known. Use one of: " + known};
}

DecayKind parse_decay(const std::string& name) {
  if (name == "cosine") return DecayKind::Cosine;
  if (name == "linear") return DecayKind::Linear;
  if (name == "1-sqrt") return DecayKind::OneMinusSqrt;
  throw ConfigError{"lr_decay_type must be cosine, linear or 1-sqrt, got \"" + name + "\""};
}

bool LrSchedule::has_end() const {
  return kind != ScheduleKind::Constant && kind != ScheduleKind::ConstantWithWarmup &&
         kind != ScheduleKind::InverseSqrt;
}

void LrSchedule::validate() const {
  require(!has_end() || max_steps > 0,
          "a decaying lr_scheduler_type needs max_steps > 0 to know where it ends. Set max_steps, or "
          "lr_scheduler_type constant");
  require(shape.num_cycles.value_or(1.0) > 0, "lr_num_cycles must be > 0");
  require(shape.min_lr_ratio >= 0 && shape.min_lr_ratio <= 1, "lr_min_ratio must be in [0, 1]");
  require(shape.timescale.value_or(1) > 0, "lr_timescale must be > 0");
  if (kind == ScheduleKind::Polynomial) {
    require(shape.lr_end >= 0 && shape.lr_end <= learning_rate,
            "lr_end must be in [0, learning_rate]: the schedule goes down to it");
  }
  if (kind == ScheduleKind::WarmupStableDecay) {
    require(shape.num_decay_steps > 0 && warmup_steps + shape.num_decay_steps <= max_steps,
            "warmup_stable_decay needs lr_decay_steps > 0, and with warmup_steps no more than "
            "max_steps");
  }
}

double LrSchedule::at(std::int64_t update) const {
  // Plain "constant" has no warm-up, as in transformers.
  if (kind == ScheduleKind::Constant) return learning_rate;
  if (update < warmup_steps) {
    const double risen = static_cast<double>(update) / static_cast<double>(warmup_steps);
    // As in transformers, this one alone starts from its floor.
    const bool has_floor = kind == ScheduleKind::WarmupStableDecay;
    return learning_rate * above_floor(risen, has_floor ? shape.min_lr_ratio : 0.0);
  }
  if (kind == ScheduleKind::Polynomial) {
    return (learning_rate - shape.lr_end) * std::pow(1.0 - progress(update), shape.power) +
           shape.lr_end;
  }
  return learning_rate * factor_after_warmup(update);
}

/// From 0 at the end of the warm-up to 1 at max_steps, and no further.
double LrSchedule::progress(std::int64_t update) const {
  const auto span = std::max<std::int64_t>(1, max_steps - warmup_steps);
  return std::min(1.0, static_cast<double>(update - warmup_steps) / static_cast<double>(span));
}

double LrSchedule::factor_after_warmup(std::int64_t update) const {
  switch (kind) {
    case ScheduleKind::Linear: return 1.0 - progress(update);
    case ScheduleKind::Cosine: return cosine(progress(update), shape.num_cycles.value_or(0.5));
    case ScheduleKind::CosineWithMinLr:
      return above_floor(cosine(progress(update), shape.num_cycles.value_or(0.5)),
                         shape.min_lr_ratio);
    case ScheduleKind::CosineWithRestarts: {
      const double p = progress(update);
      return p >= 1.0 ? 0.0 : cosine(std::fmod(shape.num_cycles.value_or(1.0) * p, 1.0), 0.5);
    }
    case ScheduleKind::InverseSqrt: {
      const auto scale = static_cast<double>(
          shape.timescale.value_or(warmup_steps > 0 ? warmup_steps : 10'000));
      return 1.0 / std::sqrt((static_cast<double>(update - warmup_steps) + scale) / scale);
    }
    case ScheduleKind::WarmupStableDecay: {
      const auto decayed = static_cast<double>(update - (max_steps - shape.num_decay_steps)) /
                           static_cast<double>(shape.num_decay_steps);
      return above_floor(decay(shape.decay, std::clamp(decayed, 0.0, 1.0)), shape.min_lr_ratio);
    }
    default: return 1.0;
  }
}

}  // namespace hone

#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace hone {

enum class ScheduleKind {
  Constant,
  ConstantWithWarmup,
  Linear,
  Cosine,
  CosineWithRestarts,
  CosineWithMinLr,
  Polynomial,
  InverseSqrt,
  WarmupStableDecay,
};

/// transformers' names: "constant", "cosine_with_restarts" ... Throws: ConfigError naming them all.
ScheduleKind parse_schedule(const std::string& name);

/// How warmup_stable_decay goes down.
enum class DecayKind { Cosine, Linear, OneMinusSqrt };

/// "cosine", "linear" or "1-sqrt". Throws: ConfigError naming them all.
DecayKind parse_decay(const std::string& name);

/// What only some kinds look at. Names are those of transformers' lr_scheduler_kwargs.
struct ScheduleShape {
  /// Waves of the cosine: null is half a one, or one for cosine_with_restarts.
  std::optional<double> num_cycles;
  double min_lr_ratio = 0.0;  ///< floor of cosine_with_min_lr and warmup_stable_decay, of the peak
  double power = 1.0;         ///< of polynomial
  double lr_end = 1e-7;       ///< of polynomial, a rate
  std::optional<std::int64_t> timescale;  ///< of inverse_sqrt; null: the warm-up, or 10000
  std::int64_t num_decay_steps = 0;       ///< of warmup_stable_decay: its last updates
  DecayKind decay = DecayKind::Cosine;    ///< and how it goes down in them
};

/// The learning rate of each optimizer update, as a pure function of the update's index.
/// Source: transformers' optimization.py; unlike it no kind ever rises again past the end.
struct LrSchedule {
  ScheduleKind kind = ScheduleKind::Linear;
  double learning_rate = 5e-5;     ///< peak
  std::int64_t warmup_steps = 0;   ///< update 0 has rate 0 where > 0
  std::int64_t max_steps = -1;     ///< end of the decay; a decaying kind needs it
  ScheduleShape shape = {};

  /// Throws: ConfigError where a decaying kind has no max_steps, or its shape makes no sense.
  void validate() const;
  /// False where the rate does not depend on max_steps.
  bool has_end() const;
  /// `update` counts from 0.
  double at(std::int64_t update) const;

 private:
  double factor_after_warmup(std::int64_t update) const;
  double progress(std::int64_t update) const;
};

}  // namespace hone

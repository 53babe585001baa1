#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "hone/core/training/phase_clock.hpp"

namespace hone {

/// One optimizer update, over all ranks.
struct UpdateStats {
  std::int64_t step = 0;       ///< updates applied so far, this one included
  double loss = 0.0;           ///< nats per target token
  double grad_norm = 0.0;      ///< before clipping
  double learning_rate = 0.0;  ///< the one used
  std::int64_t num_samples = 0;
  std::int64_t num_tokens = 0;    ///< targets
  double target_weight = 0.0;     ///< their weights added up: num_tokens where all are 1
  std::int64_t input_tokens = 0;  ///< real tokens, no padding
  double seconds = 0.0;  ///< on this rank: the one figure that ranks need not agree on
};

/// What is logged every `logging_steps` updates, under transformers' names.
struct LogRecord {
  std::int64_t step = 0;
  double loss = 0.0;           ///< over all targets since the last record
  double grad_norm = 0.0;      ///< of the last update
  double learning_rate = 0.0;  ///< the one that it used

  /// The numbers above by their names, in this order.
  std::vector<std::pair<std::string, double>> to_map() const;
  /// One line of key=value pairs.
  std::string summary() const;
};

/// What one step() call did, over all ranks; equal on every rank.
struct StepStats {
  std::int64_t step = 0;     ///< updates applied since the run began
  std::int64_t updates = 0;  ///< updates applied by this call
  std::int64_t skipped = 0;  ///< chunks that made no update: no target token, or not finite
  std::int64_t non_finite = 0;  ///< those of them whose loss or gradient was not finite
  double loss = 0.0;         ///< over all target tokens of the call, as each update saw them
  double grad_norm = 0.0;    ///< of the last update, before clipping
  double learning_rate = 0.0;    ///< of the last update
  std::int64_t num_samples = 0;
  std::int64_t num_tokens = 0;
  double target_weight = 0.0;    ///< what the loss is the mean over
  std::int64_t input_tokens = 0;
  std::int64_t truncated = 0;    ///< samples cut to max_length
  double tokens_per_second = 0.0;  ///< real tokens of all ranks, by the time without evaluation and saving
  double step_time = 0.0;          ///< seconds, of the slowest rank
  /// Seconds by Phase, each of the rank that took longest.
  std::array<double, kNumPhases> phase_times{};
  std::int64_t slowest_rank = 0;   ///< it computed longest: data, forward and backward
  double skew = 1.0;               ///< its computing over the mean of all ranks; 1 is balanced
  std::int64_t peak_memory = 0;    ///< bytes, of the rank that had most: resident, or on its GPU
  bool stopped = false;            ///< a stop request was obeyed, in this call or before; all is saved

  std::vector<UpdateStats> history;
  /// The latest evaluation of the call under its keys (EvalStats::to_map()); empty without one.
  std::vector<std::pair<std::string, double>> eval;

  /// The statistics dictionary: every number above by its name, in this order, and the
  /// evaluation's.
  std::vector<std::pair<std::string, double>> to_map() const;
  /// One line of key=value pairs.
  std::string summary() const;
};

}  // namespace hone

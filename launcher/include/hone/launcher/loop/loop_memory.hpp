#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hone/core/training/step_stats.hpp"

namespace hone::launcher {

/// A prompt of the evaluation set with one answer to it.
struct EvalAnswer {
  std::int64_t index = 0;
  std::string prompt;
  std::string completion;
  double reward = 0.0;
};

/// As JSON, with the beginnings of long texts; by index when they are read back. parse_answers()
/// throws: InputError.
std::string to_json(const std::vector<EvalAnswer>& answers);
std::vector<EvalAnswer> parse_answers(const std::vector<std::string>& parts);

/// What `hone run` remembers from round to round, and keeps in checkpoints.
struct LoopMemory {
  std::optional<double> initial_reward;  ///< of the evaluation before training
  std::optional<double> latest_reward;   ///< and of the newest
  std::vector<EvalAnswer> before, after;
  std::int64_t recorded_round = -1;  ///< the newest one that was logged; -1 before the first
  std::int64_t sampled_round = 0;    ///< the newest one that has samples; 0 before the first
  std::string samples_digest;        ///< of their file
  StepStats trained;                 ///< sums over the updates of the latest round
};

/// For Trainer::set_user_state(), and back. parse_loop_memory() throws: InputError.
std::string to_json(const LoopMemory& memory);
LoopMemory parse_loop_memory(const std::string& text);

}  // namespace hone::launcher

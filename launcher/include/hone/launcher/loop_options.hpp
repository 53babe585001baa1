#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "hone/core/generation/generation_options.hpp"
#include "hone/core/training/trainer_options.hpp"
#include "hone/launcher/job_options.hpp"
#include "hone/launcher/loop/keep.hpp"
#include "hone/launcher/loop/reward.hpp"

namespace hone::launcher {

/// Everything that `hone run` takes, as in a loop.yaml.
struct LoopOptions {
  ModelOptions model;
  ResumeOptions resume;
  std::filesystem::path output_dir;
  std::int64_t seed = 42;
  std::int64_t num_rounds = 1;

  std::filesystem::path prompts_file;
  std::int64_t prompts_per_round = 64;

  GenerationOptions generate{.num_return_sequences = 4};
  RewardOptions reward;
  double reward_timeout_seconds = 30.0;
  bool shuffle_rewards = false;
  KeepOptions keep;
  TrainerOptions train;
  bool completion_only_loss = true;

  std::filesystem::path eval_file;  ///< empty: no evaluation
  std::int64_t eval_every_rounds = 1;

  std::string save_strategy = "round";  ///< round | steps | time | no
  std::int64_t save_steps = 0;
  double save_minutes = 0.0;
  SaveLimits save_limits;

  void bind(OptionRegistry& registry);
  /// Makes files relative to the YAML file, carries shared values over, and checks what no single
  /// option can. Throws: ConfigError.
  void resolve(const std::filesystem::path& config);
};

}  // namespace hone::launcher

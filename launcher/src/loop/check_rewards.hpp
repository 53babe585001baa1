#pragma once

#include <memory>

#include "hone/launcher/loop/reward.hpp"

namespace hone::launcher {

/// The built-in checks, from options that make_reward() has found to fit together.
std::unique_ptr<Reward> make_exact_reward(const RewardOptions& options);
std::unique_ptr<Reward> make_regex_reward(const RewardOptions& options);
std::unique_ptr<Reward> make_number_reward(const RewardOptions& options);

}  // namespace hone::launcher

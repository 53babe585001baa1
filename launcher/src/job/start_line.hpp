#pragma once

#include <string>

#include "hone/core/training/trainer_options.hpp"

namespace hone::launcher {

/// "with   bf16, optimizer_sharding zero1\n": the options that change how a run computes and are in
/// effect on so many ranks; empty where none is.
std::string options_in_effect(const TrainerOptions& options, bool bf16, int num_ranks);

}  // namespace hone::launcher

#pragma once

#include "hone/launcher/commands.hpp"

namespace hone::launcher {

/// `hone bench generate MODEL`: how fast a rank completes prompts.
int run_bench_generate(const CommandContext& context, Arguments arguments);

}  // namespace hone::launcher

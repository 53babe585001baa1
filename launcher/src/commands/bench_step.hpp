#pragma once

#include "hone/launcher/commands.hpp"

namespace hone::launcher {

/// `hone bench step MODEL`: what an update takes, and where its time goes.
int run_bench_step(const CommandContext& context, Arguments arguments);

}  // namespace hone::launcher

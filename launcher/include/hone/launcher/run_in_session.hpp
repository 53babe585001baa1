#pragma once

#include <functional>

#include "hone/core/error.hpp"
#include "hone/launcher/session.hpp"

namespace hone::launcher {

/// The main() of a program with a training loop of its own: reads how this process was started,
/// makes the Session on standard output and standard error, runs `body` and ends the job in common.
///
/// Returns the process's exit code: what `body` returned, or that of what it threw, which is shown
/// as one block on standard error. Threads of the tensor library are set unless the options do it.
/// Collective. Call it once, from main().
int run_in_session(SessionOptions options, const std::function<ExitCode(Session&)>& body);

}  // namespace hone::launcher

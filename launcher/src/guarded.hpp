#pragma once

#include <chrono>
#include <functional>

#include "hone/launcher/launch_environment.hpp"
#include "hone/launcher/screen.hpp"

namespace hone::launcher {

/// How far apart the processes of one job begin, on busy machines too.
constexpr std::chrono::seconds kStartSpread{5};

/// Before MPI runs, ranks cannot agree on who speaks, and mpirun kills all of them as soon as the
/// first one leaves with an error. So rank 0 tells and leaves; the others give it the time to.
/// Returns whether this rank is to tell: rank 0 at once, another where rank 0 goes on, or where
/// nobody ends those that it leaves.
[[nodiscard]] bool is_to_tell(const LaunchEnvironment& environment);

/// Runs `program`, the whole of a main(): what it throws becomes one block on standard error, shown
/// by rank 0, or by another rank where rank 0 does not leave, and the exit code. Never throws.
int run_guarded(const LaunchEnvironment& environment, Screen& screen,
                const std::function<int()>& program);

}  // namespace hone::launcher

#include "guarded.hpp"

#include <signal.h>
#include <time.h>

#include <exception>
#include <string>

#include "hone/launcher/failure.hpp"

namespace hone::launcher {

bool let_root_leave_first(const LaunchEnvironment& environment) {
  if (environment.rank == 0 || environment.size <= 1) return true;
  constexpr timespec kLongEnough{.tv_sec = 5, .tv_nsec = 0};  // as far as processes begin apart
  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &end, nullptr);
  return sigtimedwait(&end, nullptr, &kLongEnough) == SIGTERM;
}

int run_guarded(const LaunchEnvironment& environment, Screen& screen,
                const std::function<int()>& program) {
  if (environment.rank != 0) screen.mute_output();
  try {
    return program();
  } catch (...) {
    const Failure failure = describe_failure(std::current_exception());
    if (environment.rank == 0) screen.print_error(error_block(failure, "", {}));
    if (!let_root_leave_first(environment)) {
      screen.print_error(error_block(failure, "[rank " + std::to_string(environment.rank) + "] ", {}));
    }
    return failure.code;
  }
}

}  // namespace hone::launcher

#include "guarded.hpp"

#include <signal.h>
#include <time.h>

#include <exception>
#include <string>

#include "hone/launcher/failure.hpp"

namespace hone::launcher {

bool is_to_tell(const LaunchEnvironment& environment) {
  if (environment.rank == 0 || environment.size <= 1) return true;
  constexpr timespec kLongEnough{.tv_sec = kStartSpread.count(), .tv_nsec = 0};
  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &end, nullptr);
  return sigtimedwait(&end, nullptr, &kLongEnough) != SIGTERM;
}

int run_guarded(const LaunchEnvironment& environment, Screen& screen,
                const std::function<int()>& program) {
  if (environment.rank != 0) screen.mute_output();
  try {
    return program();
  } catch (...) {
    const Failure failure = describe_failure(std::current_exception());
    const auto tag = environment.rank == 0 ? "" : "[rank " + std::to_string(environment.rank) + "] ";
    if (is_to_tell(environment)) screen.print_error(error_block(failure, tag, {}));
    return failure.code;
  }
}

}  // namespace hone::launcher

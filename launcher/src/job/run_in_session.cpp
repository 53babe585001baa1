#include "hone/launcher/run_in_session.hpp"

#include <unistd.h>

#include <iostream>
#include <utility>

#include "guarded.hpp"
#include "job/torch_settings.hpp"

namespace hone::launcher {

int run_in_session(SessionOptions options, const std::function<ExitCode(Session&)>& body) {
  const LaunchEnvironment environment = LaunchEnvironment::read();
  Screen screen{inspect_terminal(STDOUT_FILENO, environment.no_color), std::cout, std::cerr};
  if (!options.set_num_threads) options.set_num_threads = prepare_torch;
  return run_guarded(environment, screen, [&] {
    Session session{options, environment, screen};
    return session.run([&] { return static_cast<int>(body(session)); });
  });
}

}  // namespace hone::launcher

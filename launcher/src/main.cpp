#include <unistd.h>

#include <csignal>
#include <iostream>
#include <string>
#include <vector>

#include "hone/launcher/commands.hpp"

int main(int argc, char** argv) {
  using namespace hone::launcher;
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond `ulimit -f` is an error that names it
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const LaunchEnvironment environment = LaunchEnvironment::read();
  Screen screen{inspect_terminal(STDOUT_FILENO, environment.no_color), std::cout, std::cerr};
  const int code = run_program(arguments, environment, screen);
  if (code == 0) return 0;
  // A failure may have left NCCL hanging in a thread, for which handlers of exit() would wait.
  std::cout.flush();
  std::cerr.flush();
  _exit(code);
}

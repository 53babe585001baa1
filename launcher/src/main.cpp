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
  return run_program(arguments, environment, screen);
}

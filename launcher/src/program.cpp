#include <algorithm>

#include "guarded.hpp"
#include "hone/core/error.hpp"
#include "hone/core/options/nearest_name.hpp"
#include "hone/core/printable.hpp"
#include "hone/launcher/commands.hpp"

namespace hone::launcher {
namespace {

std::string overview() {
  std::string text =
      "hone " HONE_VERSION ": iterative supervised fine-tuning as one MPI job\n\n"
      "Usage: hone COMMAND [--name value ...]\n"
      "       mpirun --bind-to none -np 2 hone COMMAND ...\n\n";
  std::size_t width = 0;
  for (const Command& command : commands()) width = std::max(width, command.name.size());
  for (const Command& command : commands()) {
    std::string name{command.name};
    name.resize(width + 2, ' ');
    text += "  " + name + std::string{command.summary} + '\n';
  }
  return text + "\nhone COMMAND --help lists a command's options. hone --version says the version.\n";
}

[[noreturn]] void throw_unknown(const std::string& word) {
  std::vector<std::string> names;
  for (const Command& command : commands()) names.emplace_back(command.name);
  const auto nearest = nearest_name(word, names);
  std::string message = "unknown command \"" + printable(word, 80) + "\".";
  if (nearest) message += " Did you mean \"" + *nearest + "\"?";
  throw ConfigError{message + " All commands: hone --help"};
}

int dispatch(const CommandContext& context, Arguments arguments) {
  if (arguments.empty()) {
    if (is_to_tell(context.environment)) context.screen.print_error(overview());
    return static_cast<int>(ExitCode::Usage);
  }
  const std::string& word = arguments.front();
  if (word == "--help" || word == "-h" || word == "help") {
    context.screen.print(overview());
    return 0;
  }
  if (word == "--version") {
    context.screen.print("hone " HONE_VERSION "\n");
    return 0;
  }
  for (const Command& command : commands()) {
    if (command.name == word) return command.run(context, arguments.subspan(1));
  }
  throw_unknown(word);
}

}  // namespace

int run_program(Arguments arguments, const LaunchEnvironment& environment, Screen& screen) {
  return run_guarded(environment, screen,
                     [&] { return dispatch({environment, screen}, arguments); });
}

}  // namespace hone::launcher

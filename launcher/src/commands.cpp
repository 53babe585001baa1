#include "hone/launcher/commands.hpp"

#include <array>

namespace hone::launcher {

bool parse_options(const CommandContext& context, OptionRegistry& registry, Arguments arguments) {
  const ParsedOptions parsed = registry.parse(arguments);
  if (parsed.help) {
    context.screen.print(registry.help(text_width(context.screen.terminal())));
    return false;
  }
  if (context.environment.rank == 0) {
    for (const std::string& notice : parsed.notices) {
      context.screen.print_error("warning: " + notice + '\n');
    }
  }
  return true;
}

std::span<const Command> commands() {
  static constexpr std::array kCommands{
      Command{"inspect", "what is in a checkpoint or a run directory, and whether it is whole",
              run_inspect},
      Command{"env", "versions, cores and how this process was started", run_env},
  };
  return kCommands;
}

}  // namespace hone::launcher

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
      Command{"run", "iterative fine-tuning: generate, score, keep, train", run_run},
      Command{"train", "supervised fine-tuning on a file of samples", run_train},
      Command{"generate", "completions of a file of prompts", run_generate},
      Command{"eval", "the loss of a model on a file of samples", run_eval},
      Command{"verify", "shows that a step does not depend on ranks, micro-batches and padding",
              run_verify},
      Command{"export", "a checkpoint as a Hugging Face folder", run_export},
      Command{"checkpoint", "lists, verifies and repairs the checkpoints of a run", run_checkpoint},
      Command{"inspect", "what is in a checkpoint or a run directory, and whether it is whole",
              run_inspect},
      Command{"plan", "memory and traffic of each rank, before anything runs", run_plan},
      Command{"bench", "how fast ranks sum buffers, and a model trains and generates", run_bench},
      Command{"env", "versions, cores and how this process was started", run_env},
  };
  return kCommands;
}

}  // namespace hone::launcher

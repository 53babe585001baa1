#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "commands/bench_allreduce.hpp"
#include "commands/bench_generate.hpp"
#include "commands/bench_step.hpp"
#include "hone/launcher/commands.hpp"

namespace hone::launcher {
namespace {

constexpr std::array kOperations{
    Command{"allreduce", "how fast the ranks of a job sum buffers", run_bench_allreduce},
    Command{"step", "what an update of a model takes", run_bench_step},
    Command{"generate", "how fast a model completes prompts", run_bench_generate},
};

bool names(const std::string& argument, std::string_view operation) {
  return argument == operation || argument == "--operation=" + std::string{operation};
}

/// The operation's own: all but argument number `at`, which names it, and the flag before that.
std::vector<std::string> without_name(Arguments arguments, std::size_t at) {
  const bool has_flag = at > 0 && arguments[at - 1] == "--operation";
  std::vector<std::string> rest{arguments.begin(), arguments.end()};
  const auto name = rest.begin() + static_cast<std::ptrdiff_t>(at);
  rest.erase(has_flag ? name - 1 : name, name + 1);
  return rest;
}

void add_operation(OptionRegistry& registry, std::string& operation) {
  std::string meanings;
  std::vector<std::string> choices;
  for (const Command& command : kOperations) {
    const std::string name{command.name};
    meanings += (meanings.empty() ? "" : "; ") + name + ": " + std::string{command.summary};
    choices.push_back(name);
  }
  registry.group("Operation")
      .add_choice("operation", &operation, meanings + '.', choices)
      .positional();
}

/// Help on all operations and what to say of unknown ones; else allreduce, as it needs no model.
int run_unnamed(const CommandContext& context, Arguments arguments) {
  std::string operation{kOperations.front().name};
  BenchAllreduceOptions options;
  OptionRegistry registry{"hone bench",
                          "Measures allreduce, step or generate. Each has options of its own, "
                          "which hone bench allreduce --help, hone bench step --help and hone "
                          "bench generate --help list. Without an operation it is allreduce, with "
                          "the options below."};
  add_operation(registry, operation);
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  return bench_allreduce(context, options);
}

}  // namespace

int run_bench(const CommandContext& context, Arguments arguments) {
  // Anywhere among the options: no option of allreduce has such a value.
  for (std::size_t at = 0; at < arguments.size(); ++at) {
    for (const Command& operation : kOperations) {
      if (names(arguments[at], operation.name)) {
        return operation.run(context, without_name(arguments, at));
      }
    }
  }
  return run_unnamed(context, arguments);
}

}  // namespace hone::launcher

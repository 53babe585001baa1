#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hone/core/options/option_registry.hpp"
#include "hone/launcher/launch_environment.hpp"
#include "hone/launcher/screen.hpp"

namespace hone::launcher {

/// What every command gets from main: how it was started and where it shows things.
struct CommandContext {
  const LaunchEnvironment& environment;
  Screen& screen;
};

/// Arguments that follow the command's name.
using Arguments = std::span<const std::string>;

/// One row of the table of commands. `run` parses its options first (parse_options()), then makes a
/// Session if it needs one, then works: help and wrong options never start MPI.
struct Command {
  std::string_view name;
  std::string_view summary;
  int (*run)(const CommandContext& context, Arguments arguments);
};

/// Parses `arguments`; shows notices as warnings. False where help was asked for, and shown: the
/// command returns 0 then. Throws what OptionRegistry::parse() throws.
bool parse_options(const CommandContext& context, OptionRegistry& registry, Arguments arguments);

/// All commands, in the order of `hone --help`.
std::span<const Command> commands();

/// The whole program behind main(): finds the command, runs it, and turns what it throws into one
/// block on standard error and an exit code.
int run_program(Arguments arguments, const LaunchEnvironment& environment, Screen& screen);

int run_run(const CommandContext& context, Arguments arguments);
int run_train(const CommandContext& context, Arguments arguments);
int run_verify(const CommandContext& context, Arguments arguments);
int run_generate(const CommandContext& context, Arguments arguments);
int run_eval(const CommandContext& context, Arguments arguments);
int run_export(const CommandContext& context, Arguments arguments);
int run_checkpoint(const CommandContext& context, Arguments arguments);
int run_inspect(const CommandContext& context, Arguments arguments);
int run_plan(const CommandContext& context, Arguments arguments);
int run_bench(const CommandContext& context, Arguments arguments);
int run_env(const CommandContext& context, Arguments arguments);

}  // namespace hone::launcher

#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "commands/checkpoint_folder.hpp"
#include "commands/checkpoint_text.hpp"
#include "hone/checkpoints/inspect.hpp"
#include "hone/core/error.hpp"
#include "hone/core/logger.hpp"
#include "hone/core/printable.hpp"
#include "hone/launcher/commands.hpp"
#include "hone/launcher/loop/run_lock.hpp"

namespace hone::launcher {
namespace {

using checkpoints::CheckpointSummary;
using nlohmann::ordered_json;

struct CheckpointOptions {
  std::filesystem::path path;
  bool json = false;
};

/// The options of `hone checkpoint ACTION`, whose path is `what`; none where help was asked for.
std::optional<CheckpointOptions> parse(const CommandContext& context, Arguments arguments,
                                       const std::string& action, const std::string& summary,
                                       const std::string& what) {
  CheckpointOptions options;
  OptionRegistry registry{"hone checkpoint " + action, summary};
  registry.group("Input").add("path", &options.path, what).positional().required();
  registry.group("Output").add("json", &options.json, "JSON to standard output.");
  if (!parse_options(context, registry, arguments)) return std::nullopt;
  return options;
}

/// Warnings, as on a run's screen.
class WarningsOn final : public Logger {
 public:
  explicit WarningsOn(Screen& screen) : screen_(screen) {}
  void write(LogLevel level, std::string_view message) override {
    if (level == LogLevel::Warning) screen_.print_error("warning: " + printable(std::string{message}, 2000) + '\n');
  }

 private:
  Screen& screen_;
};

constexpr const char* kRunOrOne = "A run directory, or a folder checkpoint-N.";

ordered_json or_null(const std::optional<std::string>& text) {
  return text ? ordered_json(*text) : ordered_json(nullptr);
}

ordered_json to_json(const CheckpointSummary& summary,
                     const std::optional<std::string>& passed_over) {
  return {{"path", summary.path.string()},
          {"step", summary.step},
          {"world_size", summary.world_size},
          {"tensor_bytes", summary.tensor_bytes},
          {"problem", or_null(summary.problem)},
          {"passed_over", or_null(passed_over)}};
}

/// By folder; none, and a warning, where nothing tells.
std::map<std::filesystem::path, std::string> passed_over_in(const std::filesystem::path& run_directory,
                                                            Screen& screen) {
  try {
    return checkpoints::passed_over_checkpoints(run_directory);
  } catch (const CheckpointError& error) {
    WarningsOn{screen}.warning(std::string{"which of these a start would pass over is not known: "} + error.what());
    return {};
  }
}

/// Each checkpoint of a run directory, or the one, as `look` finds it; 65 where one is bad.
int show_each(const CommandContext& context, const CheckpointOptions& options,
              CheckpointSummary (*look)(const std::filesystem::path&), const std::string& verdict) {
  require_checkpoint_folder(options.path);
  auto folders = checkpoints::list_checkpoints(options.path);
  const auto passed_over = passed_over_in(options.path, context.screen);
  if (folders.empty()) folders.push_back(options.path);
  bool all_whole = true;
  auto list = ordered_json::array();
  for (const auto& folder : folders) {
    const auto summary = look(folder);
    all_whole = all_whole && summary.verified();
    std::optional<std::string> reason;
    if (const auto found = passed_over.find(folder); found != passed_over.end()) reason = found->second;
    list.push_back(to_json(summary, reason));
    if (options.json) continue;
    context.screen.print(one_line(summary, reason ? verdict + ", passed over: " + *reason : verdict));
  }
  if (options.json) context.screen.print(dumped({{"checkpoints", list}}));
  return exit_code_of(all_whole);
}

int run_list(const CommandContext& context, Arguments arguments) {
  const auto options = parse(context, arguments, "list",
                             "Checkpoints, newest first, by their manifests and the lengths of "
                             "their files; nothing else is read.",
                             kRunOrOne);
  return options ? show_each(context, *options, checkpoints::summarize_checkpoint, "complete") : 0;
}

int run_verify_checkpoint(const CommandContext& context, Arguments arguments) {
  const auto options = parse(context, arguments, "verify",
                             "Reads checkpoints and compares every digest; exit code 65 where one "
                             "is bad.",
                             kRunOrOne);
  return options ? show_each(context, *options, checkpoints::verify_checkpoint, "whole") : 0;
}

int run_repair(const CommandContext& context, Arguments arguments) {
  const auto parsed = parse(context, arguments, "repair",
                            "Moves bad checkpoints of a run aside (.aside-...), puts back what an "
                            "interrupted save left renamed, and deletes what it left half written.",
                            "A run directory in which no run is at work.");
  if (!parsed) return 0;
  const auto& options = *parsed;
  require_folder_to_repair(options.path);
  if (std::filesystem::exists(options.path / "manifest.json")) {
    throw InputError{printable(options.path.string()) +
                     " is one checkpoint. Give the run directory that holds it"};
  }
  WarningsOn log{context.screen};
  const RunLock lock{options.path, log};
  const auto [done, any_whole] = checkpoints::repair_run_directory(options.path);
  if (options.json) {
    context.screen.print(dumped({{"done", done}, {"any_whole", any_whole}}));
  } else {
    for (const auto& line : done) context.screen.print(printable(line, 2000) + '\n');
    if (done.empty()) context.screen.print("nothing to repair: all checkpoints are whole\n");
  }
  return exit_code_of(any_whole);
}

constexpr std::array kActions{
    Command{"list", "which there are, by manifest and lengths", run_list},
    Command{"verify", "reads them and compares every digest", run_verify_checkpoint},
    Command{"repair", "moves bad ones aside, and clears up behind interrupted saves", run_repair},
};

/// Help, or what to say of an unknown action.
int run_unnamed(const CommandContext& context, Arguments arguments) {
  std::string action, meanings;
  std::vector<std::string> choices;
  for (const Command& command : kActions) {
    meanings += (meanings.empty() ? "" : "; ") + std::string{command.name} + ": " +
                std::string{command.summary};
    choices.emplace_back(command.name);
  }
  OptionRegistry registry{"hone checkpoint", "Looks after the checkpoints of a run."};
  registry.group("Action")
      .add_choice("action", &action, meanings + '.', choices)
      .positional()
      .required();
  parse_options(context, registry, arguments);
  return 0;
}

}  // namespace

int run_checkpoint(const CommandContext& context, Arguments arguments) {
  if (context.environment.rank != 0) return 0;
  for (const Command& action : kActions) {
    if (!arguments.empty() && arguments.front() == action.name) {
      return action.run(context, arguments.subspan(1));
    }
  }
  return run_unnamed(context, arguments);
}

}  // namespace hone::launcher

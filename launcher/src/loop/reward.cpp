#include "hone/launcher/loop/reward.hpp"

#include "check_rewards.hpp"
#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"
#include "hone/launcher/loop/command_reward.hpp"

namespace hone::launcher {
namespace {

void require_choice(const std::string& key, const std::string& value, const char* one,
                    const char* other) {
  if (value == one || value == other) return;
  throw ConfigError("reward." + key + " must be " + one + " or " + other + ", got \"" +
                    printable(value, 60) + "\"");
}

void require_field(const RewardOptions& options) {
  if (!options.field.empty()) return;
  throw ConfigError("reward.check: " + options.check +
                    " needs reward.field, the key of the right answer in the prompts file");
}

void require_no_pattern(const RewardOptions& options) {
  if (options.pattern.empty()) return;
  throw ConfigError("reward.pattern goes with reward.check: regex, not with " + options.check);
}

void require_one(const RewardOptions& options) {
  if (options.check.empty() && options.command.empty()) {
    throw ConfigError("set reward.check (exact, regex or number) or reward.command (a program and "
                      "its arguments)");
  }
  if (options.check.empty() || options.command.empty()) return;
  std::string command;
  for (const auto& word : options.command) command += (command.empty() ? "" : " ") + word;
  throw ConfigError("reward.check is " + printable(options.check, 60) + " and reward.command is " +
                    printable(command, 200) +
                    ": only one of them can score. Clear one: --reward.check= or "
                    "--reward.command=");
}

std::unique_ptr<Reward> make_regex(const RewardOptions& options) {
  if (options.pattern.empty() == options.field.empty()) {
    throw ConfigError("reward.check: regex needs either reward.pattern or reward.field");
  }
  return make_regex_reward(options);
}

}  // namespace

std::unique_ptr<Reward> make_reward(const RewardOptions& options) {
  require_one(options);
  if (!options.command.empty()) {
    return std::make_unique<CommandReward>(options.command, options.timeout);
  }
  require_choice("match", options.match, "search", "full");
  require_choice("take", options.take, "last", "first");
  if (options.check == "regex") return make_regex(options);
  if (options.check != "exact" && options.check != "number") {
    throw ConfigError("reward.check must be exact, regex or number, got \"" +
                      printable(options.check, 60) + "\"");
  }
  require_field(options);
  require_no_pattern(options);
  return options.check == "exact" ? make_exact_reward(options) : make_number_reward(options);
}

}  // namespace hone::launcher

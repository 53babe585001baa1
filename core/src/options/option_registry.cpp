#include "hone/core/options/option_registry.hpp"

#include <cassert>
#include <fstream>
#include <sstream>

#include "hone/core/error.hpp"
#include "options/option_flags.hpp"
#include "options/option_help.hpp"
#include "options/option_lookup.hpp"
#include "options/option_yaml.hpp"

namespace hone {
namespace {

using detail::OptionAssignment;
using detail::OptionReading;

std::string shown_value(const OptionAssignment& assignment) {
  if (!assignment.shown.empty()) return assignment.shown;
  if (!assignment.texts) return "null";
  std::string text;
  for (const std::string& value : *assignment.texts) {
    text += (text.empty() ? "" : " ") + detail::in_quotes(value);
  }
  return text;
}

void apply(OptionReading& reading, OptionSource source) {
  for (const OptionAssignment& assignment : reading.assignments) {
    if (assignment.shown.empty() && assignment.option->assign(assignment.texts, source)) continue;
    reading.problems.push_back(assignment.where + " must be " +
                               assignment.option->shape().expects + ", got " +
                               shown_value(assignment));
  }
}

void throw_if_any(const std::vector<std::string>& problems) {
  if (problems.empty()) return;
  std::string text;
  for (const std::string& problem : problems) text += (text.empty() ? "" : "\n") + problem;
  throw ConfigError{text};
}

std::string read_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    throw MissingInputError{"config \"" + path.string() + "\": no such file"};
  }
  std::ifstream file{path, std::ios::binary};
  if (!file || std::filesystem::is_directory(path, ignored)) {
    throw ConfigError{"config \"" + path.string() + "\" cannot be read: a YAML file is expected"};
  }
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The YAML file named by the flags; the last one counts, as for every flag.
std::string config_path_in(const OptionReading& flags, const Option* config) {
  std::string path;
  for (const OptionAssignment& assignment : flags.assignments) {
    if (assignment.option == config && assignment.texts) path = assignment.texts->front();
  }
  return path;
}

void append(OptionReading& to, OptionReading from) {
  to.problems.insert(to.problems.end(), from.problems.begin(), from.problems.end());
  to.notices.insert(to.notices.end(), from.notices.begin(), from.notices.end());
}

std::string missing_option(const Option& option, bool has_config) {
  std::string text = option.name() + " is required: give --" + option.name() + ' ' +
                     option.shape().metavar;
  if (has_config && !option.is_command_line_only()) text += ", or write it into the YAML file";
  return text;
}

std::vector<std::string> missing_options(const std::deque<Option>& options, bool has_config) {
  std::vector<std::string> missing;
  for (const Option& option : options) {
    if (!option.is_required() || option.source() != OptionSource::Default) continue;
    missing.push_back(missing_option(option, has_config));
  }
  return missing;
}

}  // namespace

OptionGroup::OptionGroup(std::deque<Option>& options, std::string title, std::string prefix)
    : options_(&options), title_(std::move(title)), prefix_(std::move(prefix)) {}

Option& OptionGroup::add_choice(std::string name, std::string* variable, std::string help,
                                const std::vector<std::string>& choices) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const std::string& choice : choices) pairs.emplace_back(choice, choice);
  return add_choice<std::string>(std::move(name), variable, std::move(help), std::move(pairs));
}

Option& OptionGroup::append(std::string name, std::string help,
                            std::unique_ptr<detail::OptionTarget> target) {
  return options_->emplace_back(prefix_, std::move(name), title_, std::move(help),
                                std::move(target));
}

OptionRegistry::OptionRegistry(std::string command, std::string summary)
    : command_(std::move(command)), summary_(std::move(summary)) {}

OptionGroup OptionRegistry::group(std::string title, std::string prefix) {
  return OptionGroup{options_, std::move(title), std::move(prefix)};
}

Option& OptionRegistry::add_config_option(bool positional) {
  Option& option = group("Configuration").add("config", &config_path_,
                                              "YAML file with options of this command; flags win "
                                              "over it.");
  return positional ? option.positional() : option.command_line_only();
}

void OptionRegistry::advise(std::string name, std::string advice) {
  advice_.insert_or_assign(std::move(name), std::move(advice));
}

ParsedOptions OptionRegistry::parse(std::span<const std::string> arguments) {
  if (detail::asks_for_help(arguments)) return {.help = true};
  const detail::OptionLookup lookup{options_, command_, advice_};
  const auto config = lookup.find("config");
  const bool has_config = config && config->option->is_command_line_only();

  OptionReading flags = detail::read_flags(lookup, arguments);
  OptionReading all;
  if (has_config) {
    const std::string path = config_path_in(flags, config->option);
    if (!path.empty()) {
      OptionReading yaml = detail::read_yaml(lookup, read_file(path), path);
      apply(yaml, OptionSource::Yaml);
      append(all, std::move(yaml));
    }
  }
  apply(flags, OptionSource::Flag);
  append(all, std::move(flags));
  throw_if_any(all.problems);
  // Only now: a missing option is often only a misspelt one.
  throw_if_any(missing_options(options_, has_config));
  return {.help = false, .notices = std::move(all.notices)};
}

std::vector<std::string> OptionRegistry::load_yaml(std::string_view text, std::string_view name) {
  const detail::OptionLookup lookup{options_, command_, advice_};
  OptionReading yaml = detail::read_yaml(lookup, text, name);
  apply(yaml, OptionSource::Yaml);
  throw_if_any(yaml.problems);
  return std::move(yaml.notices);
}

OptionSource OptionRegistry::source_of(std::string_view name) const {
  for (const Option& option : options_) {
    if (option.name() == name) return option.source();
  }
  assert(false && "source_of: no option of this name was declared");
  return OptionSource::Default;
}

std::string OptionRegistry::help(std::size_t width) const {
  return detail::write_help(options_, command_, summary_, width);
}

std::string OptionRegistry::dump_yaml() const { return detail::write_yaml(options_); }

}  // namespace hone

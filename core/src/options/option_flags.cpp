#include "options/option_flags.hpp"

#include <algorithm>
#include <utility>

#include "hone/core/printable.hpp"

namespace hone::detail {
namespace {

bool is_flag(std::string_view argument) { return argument.starts_with("--"); }

std::string with_underscores(std::string_view name) {
  std::string text{name};
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

/// "train.no_shuffle" and "no_train.shuffle" name the option "train.shuffle"; else empty.
std::string without_no(const std::string& name) {
  if (name.starts_with("no_")) return name.substr(3);
  const auto at = name.rfind(".no_");
  return at == std::string::npos ? "" : name.substr(0, at + 1) + name.substr(at + 4);
}

class FlagReader {
 public:
  FlagReader(const OptionLookup& lookup, std::span<const std::string> arguments)
      : lookup_(lookup), arguments_(arguments), positionals_(lookup.positionals()) {}

  OptionReading read() {
    while (next_ < arguments_.size()) {
      const std::string& argument = arguments_[next_++];
      if (argument == "--") {
        while (next_ < arguments_.size()) read_positional(arguments_[next_++]);
      } else if (is_flag(argument)) {
        read_flag(argument);
      } else {
        read_positional(argument);
      }
    }
    return std::move(reading_);
  }

 private:
  void read_flag(const std::string& argument) {
    const auto equals = argument.find('=');
    const std::string flag = argument.substr(0, equals);
    std::optional<std::string> attached;
    if (equals != std::string::npos) attached = argument.substr(equals + 1);

    const std::string name = with_underscores(flag.substr(2));
    auto matches = lookup_.find_by_end(name);
    if (matches.size() == 1) return read_values(matches.front(), flag, attached);
    if (matches.empty() && read_negated(name, flag, attached)) return;
    if (matches.empty()) {
      reading_.problems.push_back("unknown option " + in_quotes(flag) + "." +
                                  lookup_.advice(name, "--"));
    } else {
      reading_.problems.push_back(ambiguous(flag, matches));
    }
    skip_values();
  }

  bool read_negated(const std::string& name, const std::string& flag,
                    const std::optional<std::string>& attached) {
    const std::string positive = without_no(name);
    if (positive.empty()) return false;
    const auto matches = lookup_.find_by_end(positive);
    if (matches.size() != 1 || !matches.front().option->shape().boolean) return false;
    if (attached) {
      reading_.problems.push_back(flag + " takes no value, got " + in_quotes(*attached));
    } else {
      assign(matches.front(), flag, {"false"});
    }
    return true;
  }

  static std::string ambiguous(const std::string& flag, const std::vector<OptionMatch>& matches) {
    std::string names;
    for (const auto& match : matches) {
      names += (names.empty() ? "--" : ", --") + match.option->name();
    }
    return "option " + in_quotes(flag) + " could be any of " + names + ". Write one of these in full";
  }

  void read_values(const OptionMatch& match, const std::string& flag,
                   const std::optional<std::string>& attached) {
    const OptionShape& shape = match.option->shape();
    if (attached && attached->empty() && shape.list) return assign(match, flag, {});
    if (attached) return assign(match, flag, {*attached});
    if (shape.boolean) return assign(match, flag, {boolean_value()});
    std::vector<std::string> values;
    const bool many = shape.list && !match.option->is_comma_separated();
    const std::size_t most = many ? arguments_.size() : 1;
    while (values.size() < most && next_ < arguments_.size() && !is_flag(arguments_[next_])) {
      values.push_back(arguments_[next_++]);
    }
    if (values.empty()) {
      reading_.problems.push_back(flag + " needs a value: " + shape.expects);
      return;
    }
    assign(match, flag, std::move(values));
  }

  /// A flag alone is true; a word behind it is its value, unless a positional may be meant.
  std::string boolean_value() {
    if (next_ == arguments_.size() || is_flag(arguments_[next_])) return "true";
    bool parsed = false;
    const std::string& word = arguments_[next_];
    const bool is_value = parse_value(word, parsed) || word == "null" || positionals_.empty();
    return is_value ? arguments_[next_++] : "true";
  }

  void read_positional(const std::string& argument) {
    if (is_config_without_flag(argument)) {
      reading_.problems.push_back("unexpected argument " + in_quotes(argument) +
                                  ". A YAML file of options is given as --config " +
                                  printable(argument, 200));
      return;
    }
    if (num_positionals_ < positionals_.size()) {
      Option* option = positionals_[num_positionals_++];
      assign({option, nullptr}, option->name(), {argument});
      return;
    }
    reading_.problems.push_back("unexpected argument " + in_quotes(argument) +
                                ". Options begin with two dashes: --name value");
  }

  /// `hone train t.yaml`, as `hone run t.yaml` is written.
  bool is_config_without_flag(std::string_view argument) const {
    if (!argument.ends_with(".yaml") && !argument.ends_with(".yml")) return false;
    const auto config = lookup_.find("config");
    return config && config->option->is_command_line_only() && !config->option->is_positional();
  }

  void assign(const OptionMatch& match, const std::string& flag,
              std::vector<std::string> values) {
    if (match.alias) reading_.notices.push_back(flag + ": " + match.alias->notice);
    OptionAssignment assignment{match.option, flag, std::move(values), {}};
    const bool null = match.option->shape().nullable && assignment.texts->size() == 1 &&
                      assignment.texts->front() == "null";
    if (null) assignment.texts.reset();
    reading_.assignments.push_back(std::move(assignment));
  }

  /// What stands behind an unknown flag belongs to it: one mistake, one message.
  void skip_values() {
    while (next_ < arguments_.size() && !is_flag(arguments_[next_])) ++next_;
  }

  const OptionLookup& lookup_;
  std::span<const std::string> arguments_;
  std::vector<Option*> positionals_;
  std::size_t num_positionals_ = 0;
  std::size_t next_ = 0;
  OptionReading reading_;
};

}  // namespace

OptionReading read_flags(const OptionLookup& lookup, std::span<const std::string> arguments) {
  return FlagReader{lookup, arguments}.read();
}

bool asks_for_help(std::span<const std::string> arguments) {
  for (const std::string& argument : arguments) {
    if (argument == "--") return false;
    if (argument == "--help" || argument == "-h") return true;
  }
  return false;
}

}  // namespace hone::detail

#pragma once

#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hone/core/options/option.hpp"
#include "hone/core/options/range.hpp"

namespace hone {

/// Options that stand together in the help text and share a prefix of their names.
/// Ownership: a handle on its registry; the variables belong to the caller and outlive the
/// registry.
class OptionGroup {
 public:
  OptionGroup(std::deque<Option>& options, std::string title, std::string prefix);

  /// Binds an option to `variable`, whose present value is the default. T is bool, std::int64_t,
  /// double, std::string, std::filesystem::path, a std::optional of one of these (null: nothing),
  /// or a std::vector of all but bool. `name` may have dots: `keep.best_of` is nested in YAML.
  template <typename T>
  Option& add(std::string name, T* variable, std::string help, const Range& range = {}) {
    return append(std::move(name), std::move(help),
                  std::make_unique<detail::TypedTarget<T>>(variable, range));
  }

  /// An option with a few named values.
  template <typename T>
  Option& add_choice(std::string name, T* variable, std::string help,
                     std::vector<std::pair<std::string, T>> choices) {
    return append(std::move(name), std::move(help),
                  std::make_unique<detail::ChoiceTarget<T>>(variable, std::move(choices)));
  }

  /// The same with the words themselves as values.
  Option& add_choice(std::string name, std::string* variable, std::string help,
                     const std::vector<std::string>& choices);

 private:
  Option& append(std::string name, std::string help, std::unique_ptr<detail::OptionTarget> target);

  std::deque<Option>* options_;
  std::string title_;
  std::string prefix_;
};

/// What parsing a command line came to, beside the variables that it set.
struct ParsedOptions {
  bool help = false;                      ///< --help was given: nothing was set, nothing was checked
  std::vector<std::string> notices = {};  ///< one line each, to be shown as warnings
};

/// All options of one command: the one source of its YAML keys, flags, help and resolved values.
///
/// Sources: a variable's own value < YAML file < flags. Flags are those of transformers'
/// HfArgumentParser: `--learning_rate 1e-5`, `--learning-rate=1e-5`, `--bf16`, `--bf16 false`,
/// `--no_bf16`, `--stop a b`; the nested `generate.temperature` is `--generate.temperature`, or
/// `--temperature` where no other option ends so. `null` empties what may be empty.
/// Throws: ConfigError that lists *all* that is wrong, one line each; MissingInputError where the
/// YAML file does not exist. Variables may then hold part of what was given.
/// Thread-safety: one thread at a time.
class OptionRegistry {
 public:
  /// `command` as typed ("hone train"); `summary` is one sentence.
  OptionRegistry(std::string command, std::string summary);

  OptionRegistry(const OptionRegistry&) = delete;
  OptionRegistry& operator=(const OptionRegistry&) = delete;

  /// Options named `prefix` + name: group("Training", "train.") makes `train.learning_rate`.
  OptionGroup group(std::string title, std::string prefix = {});

  /// Takes `--config FILE`, a YAML file of this command's options; `positional`: FILE alone as
  /// well.
  Option& add_config_option(bool positional = false);
  /// For a name that this command lacks and people will try: `advice` is said in place of the
  /// nearest name ("Give --dtype bfloat16").
  void advise(std::string name, std::string advice);
  /// The YAML file that was given, or an empty path.
  const std::filesystem::path& config_path() const { return config_path_; }

  /// Arguments as they follow the command's name; reads the YAML file where one is named.
  ParsedOptions parse(std::span<const std::string> arguments);

  /// Sets options from YAML text; `name` stands in messages ("run.yaml:7:1: ..."). Required options
  /// are not asked for. Returns notices.
  std::vector<std::string> load_yaml(std::string_view text, std::string_view name);

  /// Who set the option. `name` is a full dotted name of this registry.
  OptionSource source_of(std::string_view name) const;

  /// The complete help text. Units: `width` in columns.
  std::string help(std::size_t width = 100) const;

  /// All values as nested YAML that load_yaml() takes back.
  std::string dump_yaml() const;

 private:
  std::string command_;
  std::string summary_;
  std::deque<Option> options_;
  std::map<std::string, std::string, std::less<>> advice_;
  std::filesystem::path config_path_;
};

}  // namespace hone

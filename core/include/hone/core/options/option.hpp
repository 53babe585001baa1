#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hone/core/options/detail/option_target.hpp"

namespace hone {

/// Who set an option last; later ones win.
enum class OptionSource { Default, Yaml, Flag };

/// An older or other name of an option.
struct OptionAlias {
  std::string name;    ///< full dotted name
  std::string notice;  ///< what using it is answered with, once
};

/// One option of a command: its name, meaning and the variable that it sets. Made by OptionGroup.
class Option {
 public:
  Option(std::string prefix, std::string name, std::string group, std::string help,
         std::unique_ptr<detail::OptionTarget> target);

  /// Without a value from YAML or a flag the command is refused.
  Option& required();
  /// Also takes `name` (beside this option: the group's prefix is added). Using it gives `notice`,
  /// or by default a line that names the present spelling.
  Option& alias(std::string name, std::string notice = {});
  /// Also taken without a flag, by position, in the order of declaration. Not a YAML key.
  Option& positional();
  /// Not a YAML key, and left out of dump_yaml().
  Option& command_line_only();
  /// Of a list: one word with commas between, `2,8,64`, is taken for it, on the command line in
  /// place of several words, and in YAML beside a sequence.
  Option& comma_separated();

  const std::string& name() const { return name_; }  ///< full dotted name
  const std::string& group() const { return group_; }
  const std::string& help() const { return help_; }
  const detail::OptionShape& shape() const { return shape_; }
  const std::vector<OptionAlias>& aliases() const { return aliases_; }
  OptionSource source() const { return source_; }
  bool is_required() const { return required_; }
  bool is_positional() const { return positional_; }
  bool is_command_line_only() const { return command_line_only_; }
  bool is_comma_separated() const { return comma_separated_; }
  /// The value when the option was declared, none for null.
  const std::optional<std::vector<std::string>>& default_texts() const { return default_texts_; }
  std::optional<std::vector<std::string>> texts() const { return target_->texts(); }

  /// Sets the variable; `texts` without a value means null. False, and nothing changed, where the
  /// texts are no such value.
  bool assign(const std::optional<std::vector<std::string>>& texts, OptionSource source);

 private:
  std::string prefix_;
  std::string name_;
  std::string group_;
  std::string help_;
  std::unique_ptr<detail::OptionTarget> target_;
  detail::OptionShape shape_;
  std::vector<OptionAlias> aliases_;
  std::optional<std::vector<std::string>> default_texts_;
  OptionSource source_ = OptionSource::Default;
  bool required_ = false;
  bool positional_ = false;
  bool command_line_only_ = false;
  bool comma_separated_ = false;
};

}  // namespace hone

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hone {

/// An option that two configurations set differently.
struct ChangedOption {
  std::string name;    ///< full dotted name
  std::string before;  ///< as YAML, "null" too; "nothing" where the option was not there
  std::string after;
};

/// "--name value" as a shell takes it, of a ChangedOption's value; empty for lists and for
/// "nothing".
std::string as_flag(const std::string& name, const std::string& value);

/// What differs between two texts of OptionRegistry::dump_yaml(), in the order of `after`. A text
/// that cannot be read counts as empty: a hand-edited file must not stop a resumed run.
std::vector<ChangedOption> changed_options(std::string_view before, std::string_view after);

}  // namespace hone

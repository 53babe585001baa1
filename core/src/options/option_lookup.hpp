#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hone/core/options/option.hpp"

namespace hone::detail {

/// A value for an option as it was written, before its type is looked at.
struct OptionAssignment {
  Option* option = nullptr;
  std::string where;  ///< how messages begin: "run.yaml:9:16: save_steps" or "--save_steps"
  std::optional<std::vector<std::string>> texts;  ///< none: null
  std::string shown;  ///< the value in messages, where it is not simply the texts
};

/// What reading one source came to; all problems are told at once.
struct OptionReading {
  std::vector<OptionAssignment> assignments;
  std::vector<std::string> problems;
  std::vector<std::string> notices;
};

/// An option and the alias it was found by, if any.
struct OptionMatch {
  Option* option = nullptr;
  const OptionAlias* alias = nullptr;
};

/// Finds options by full name, alias, or the end of a dotted name.
class OptionLookup {
 public:
  using Advice = std::map<std::string, std::string, std::less<>>;

  /// `advice`: what is said of names that the command lacks, in place of the nearest.
  OptionLookup(std::deque<Option>& options, std::string command, Advice advice = {});

  /// By full name or alias.
  std::optional<OptionMatch> find(std::string_view name) const;
  /// By full name, alias, or a dotted end of these; several where the end is not unique.
  std::vector<OptionMatch> find_by_end(std::string_view name) const;
  /// Whether some option's name begins with `name` and a dot.
  bool is_section(std::string_view name) const;
  /// ` Did you mean "learning_rate"? All options: hone train --help`. `dashes` go before names.
  std::string advice(std::string_view unknown, std::string_view dashes) const;

  std::vector<Option*> positionals() const;

 private:
  std::deque<Option>& options_;
  std::string command_;
  Advice advice_;
  std::map<std::string, OptionMatch, std::less<>> by_name_;
};

/// `"text"` with what a terminal would act on escaped, cut where it is long.
std::string in_quotes(std::string_view text);

}  // namespace hone::detail

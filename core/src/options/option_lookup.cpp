#include "options/option_lookup.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "hone/core/options/nearest_name.hpp"
#include "hone/core/printable.hpp"

namespace hone::detail {
namespace {

bool ends_with_part(std::string_view name, std::string_view end) {
  return name.size() > end.size() && name.ends_with(end) &&
         name[name.size() - end.size() - 1] == '.';
}

}  // namespace

OptionLookup::OptionLookup(std::deque<Option>& options, std::string command, Advice advice)
    : options_(options), command_(std::move(command)), advice_(std::move(advice)) {
  for (Option& option : options) {
    by_name_.insert_or_assign(option.name(), OptionMatch{&option, nullptr});
    for (const OptionAlias& alias : option.aliases()) {
      by_name_.try_emplace(alias.name, OptionMatch{&option, &alias});
    }
  }
}

std::optional<OptionMatch> OptionLookup::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return std::nullopt;
  return found->second;
}

std::vector<OptionMatch> OptionLookup::find_by_end(std::string_view name) const {
  if (const auto exact = find(name)) return {*exact};
  std::vector<OptionMatch> matches;
  std::set<const Option*> seen;
  for (const auto& [full, match] : by_name_) {
    if (ends_with_part(full, name) && seen.insert(match.option).second) matches.push_back(match);
  }
  return matches;
}

bool OptionLookup::is_section(std::string_view name) const {
  const std::string begin = std::string{name} + '.';
  const auto next = by_name_.lower_bound(begin);
  return next != by_name_.end() && next->first.starts_with(begin);
}

std::string OptionLookup::advice(std::string_view unknown, std::string_view dashes) const {
  const std::string all = " All options: " + command_ + " --help";
  if (const auto said = advice_.find(unknown); said != advice_.end()) {
    return ' ' + said->second + '.' + all;
  }
  std::vector<std::string> names;
  for (const Option& option : options_) {
    names.push_back(option.name());
    const auto dot = option.name().rfind('.');
    // Sections are written in YAML only.
    if (dashes.empty() && dot != std::string::npos) names.push_back(option.name().substr(0, dot));
  }
  const auto nearest = nearest_name(unknown, names);
  std::string text;
  if (nearest) text = " Did you mean \"" + std::string{dashes} + *nearest + "\"?";
  return text + all;
}

std::vector<Option*> OptionLookup::positionals() const {
  std::vector<Option*> found;
  for (Option& option : options_) {
    if (option.is_positional()) found.push_back(&option);
  }
  return found;
}

std::string in_quotes(std::string_view text) { return '"' + printable(text, 80) + '"'; }

}  // namespace hone::detail

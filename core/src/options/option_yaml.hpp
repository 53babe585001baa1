#pragma once

#include <deque>
#include <string>
#include <string_view>

#include "options/option_lookup.hpp"

namespace hone::detail {

/// Sorts a YAML text into assignments. `name` stands before line and column in messages.
OptionReading read_yaml(const OptionLookup& lookup, std::string_view text, std::string_view name);

/// The present values as nested YAML.
std::string write_yaml(const std::deque<Option>& options);

}  // namespace hone::detail

#pragma once

#include <span>
#include <string>

#include "options/option_lookup.hpp"

namespace hone::detail {

/// Sorts command line arguments into assignments.
OptionReading read_flags(const OptionLookup& lookup, std::span<const std::string> arguments);

/// Whether help was asked for, before `--`.
bool asks_for_help(std::span<const std::string> arguments);

}  // namespace hone::detail

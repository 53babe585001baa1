#pragma once

#include <deque>
#include <string>
#include <string_view>

#include "hone/core/options/option.hpp"

namespace hone::detail {

/// Usage line, summary and all options by group, wrapped at `width` columns.
std::string write_help(const std::deque<Option>& options, std::string_view command,
                       std::string_view summary, std::size_t width);

}  // namespace hone::detail

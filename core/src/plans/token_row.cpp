#include "hone/core/training/token_row.hpp"

#include <string>

#include "hone/core/error.hpp"

namespace hone {

TruncationMode parse_truncation_mode(std::string_view name) {
  if (name == "keep_end") return TruncationMode::KeepEnd;
  if (name == "keep_start") return TruncationMode::KeepStart;
  throw ConfigError{"truncation_mode \"" + std::string{name} +
                    "\" is not known. Use keep_end or keep_start"};
}

bool truncate(TokenRow& row, std::int64_t max_length, TruncationMode mode) {
  const auto excess = row.num_tokens() - max_length;
  if (excess <= 0) return false;
  for (auto* values : {&row.ids, &row.labels}) {
    if (mode == TruncationMode::KeepEnd) {
      values->erase(values->begin(), values->begin() + excess);
    } else {
      values->resize(static_cast<std::size_t>(max_length));
    }
  }
  return true;
}

}  // namespace hone

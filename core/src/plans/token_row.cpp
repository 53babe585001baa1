#include "hone/core/training/token_row.hpp"

#include <string>

#include "hone/core/error.hpp"

namespace hone {

std::optional<std::int64_t> first_unknown(std::span<const std::int64_t> ids, IdKind kind,
                                          std::int64_t vocab_size) {
  for (const auto id : ids) {
    const bool is_ignored = kind == IdKind::Label && id == kIgnoredLabel;
    if (!is_ignored && (id < 0 || id >= vocab_size)) return id;
  }
  return std::nullopt;
}

TruncationMode parse_truncation_mode(std::string_view name) {
  if (name == "keep_end") return TruncationMode::KeepEnd;
  if (name == "keep_start") return TruncationMode::KeepStart;
  throw ConfigError{"truncation_mode \"" + std::string{name} +
                    "\" is not known. Use keep_end or keep_start"};
}

bool truncate(std::vector<std::int64_t>& values, std::int64_t max_length, TruncationMode mode) {
  const auto excess = static_cast<std::int64_t>(values.size()) - max_length;
  if (excess <= 0) return false;
  if (mode == TruncationMode::KeepEnd) {
    values.erase(values.begin(), values.begin() + excess);
  } else {
    values.resize(static_cast<std::size_t>(max_length));
  }
  return true;
}

}  // namespace hone

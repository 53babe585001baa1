#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace hone {

/// Label of a position that is not trained. Source: torch's cross_entropy default.
constexpr std::int64_t kIgnoredLabel = -100;

/// One sequence to train on, already tokenized, truncated and without padding.
struct TokenRow {
  std::vector<std::int64_t> ids;
  /// Same length as ids; kIgnoredLabel where not trained. Position t is predicted from t-1, so
  /// labels[0] never counts.
  std::vector<std::int64_t> labels;
  double weight = 1.0;  ///< how much each of its targets counts

  std::int64_t num_tokens() const { return static_cast<std::int64_t>(ids.size()); }
  /// Positions that are predicted and trained.
  std::int64_t num_targets() const {
    return labels.empty() ? 0 : std::count_if(labels.begin() + 1, labels.end(), [](auto label) {
      return label >= 0;
    });
  }
  bool operator==(const TokenRow&) const = default;
};

/// Any of them has a weight that is not 1.
inline bool is_weighted(std::span<const TokenRow> rows) {
  return std::any_of(rows.begin(), rows.end(), [](const auto& row) { return row.weight != 1.0; });
}

enum class TruncationMode { KeepEnd, KeepStart };

/// "keep_end" or "keep_start". Throws: ConfigError.
TruncationMode parse_truncation_mode(std::string_view name);

/// Cuts ids and labels to `max_length` tokens; true where something was cut.
bool truncate(TokenRow& row, std::int64_t max_length, TruncationMode mode);

}  // namespace hone

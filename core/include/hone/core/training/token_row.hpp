#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace hone {

/// Label of a position that is not trained. Source: torch's cross_entropy default.
constexpr std::int64_t kIgnoredLabel = -100;

/// One sequence to train on, already tokenized, truncated and without padding. Of an
/// encoder-decoder the sequence is the decoder's: its start token, then the target text.
struct TokenRow {
  std::vector<std::int64_t> ids;
  /// Same length as ids; kIgnoredLabel where not trained. Position t is predicted from t-1, so
  /// labels[0] never counts.
  std::vector<std::int64_t> labels;
  double weight = 1.0;  ///< how much each of its targets counts
  std::vector<std::int64_t> source_ids = {};  ///< what an encoder reads; empty where there is none

  std::int64_t length() const { return static_cast<std::int64_t>(ids.size()); }
  std::int64_t source_length() const { return static_cast<std::int64_t>(source_ids.size()); }
  /// What a model computes for it: the sequence and its source.
  std::int64_t num_tokens() const { return length() + source_length(); }
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

/// What ids may be: those of the vocabulary, and for labels kIgnoredLabel too.
enum class IdKind { Token, Label };

/// The first of `ids` that is none of a vocabulary of `vocab_size`; null: all are.
std::optional<std::int64_t> first_unknown(std::span<const std::int64_t> ids, IdKind kind,
                                          std::int64_t vocab_size);

enum class TruncationMode { KeepEnd, KeepStart };

/// "keep_end" or "keep_start". Throws: ConfigError.
TruncationMode parse_truncation_mode(std::string_view name);

/// Cuts `values` to `max_length` entries; true where something was cut.
bool truncate(std::vector<std::int64_t>& values, std::int64_t max_length, TruncationMode mode);

}  // namespace hone

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/core/keyed_random.hpp"

namespace hone::launcher {

enum class DedupRule { None, Exact };

/// Which completions of a round are trained on. No rule set: all of them.
struct KeepOptions {
  bool all = false;                 ///< keep everything, said aloud; no other rule may be set then
  std::optional<double> threshold;  ///< reward >= threshold
  std::optional<std::int64_t> best_of;  ///< at most this many per prompt
  DedupRule dedup = DedupRule::None;
};

/// Throws: ConfigError where the rules contradict each other or a value is out of range.
void require_valid(const KeepOptions& options);

/// One scored completion, as far as the rules look at it. The texts belong to the caller.
struct KeepCandidate {
  std::int64_t prompt_index = 0;  ///< position in the round, the same on every rank
  std::int64_t k = 0;
  double reward = 0;
  std::string_view prompt;
  std::string_view completion;
};

/// What became of a completion: kept, or the first rule that dropped it.
enum class KeepOutcome : std::uint8_t { Kept, BelowThreshold, Duplicate, NotBest };

/// "kept", "below_threshold", "duplicate" or "not_best".
std::string_view name_of(KeepOutcome outcome);

/// Sums over all ranks; generated is the sum of the other four.
struct KeepCounts {
  std::int64_t generated = 0;
  std::int64_t below_threshold = 0;
  std::int64_t duplicate = 0;
  std::int64_t not_best = 0;
  std::int64_t kept = 0;

  bool operator==(const KeepCounts&) const = default;
};

/// This rank's part of the decision, in the order of its candidates.
struct KeepDecision {
  std::vector<KeepOutcome> outcomes;
  std::vector<double> rewards;  ///< what the rules saw: differs from the given ones when shuffled
  KeepCounts counts;
};

/// Applies the rules to the completions of all ranks. They are sorted by (prompt_index, k) and
/// decided as one list, so the same completions are kept whatever the number of ranks and whoever
/// holds them:
///   1. threshold: a reward below it drops out;
///   2. dedup exact: of those left with equal prompt and completion texts, the first stays
///      (equal prompts at two positions of a round count as one prompt here);
///   3. best_of n: of those left of one position, the n highest rewards stay, ties by lower k.
///
/// `shuffle`: a control experiment. The rewards of the round are dealt out anew among all its
/// completions, by a permutation of that stream, before any rule: as many are kept, but not for
/// being good. A gain that survives it was not the filter's.
///
/// Collective; ranks without completions call it with none. Only small records travel, no text.
/// Throws, on every rank alike: ConfigError as require_valid(); InputError for a reward that is not
/// finite; Error with ExitCode::Internal where one (prompt_index, k) comes twice.
KeepDecision decide_kept(Communicator& comm, const KeepOptions& options,
                         std::span<const KeepCandidate> mine,
                         const std::optional<KeyedRandom>& shuffle = std::nullopt);

}  // namespace hone::launcher

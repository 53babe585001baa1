#include "hone/launcher/loop/keep.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <tuple>

#include "hone/core/error.hpp"
#include "sha256.hpp"

namespace hone::launcher {
namespace {

using Digest = std::array<std::byte, 16>;

/// What travels of a completion. All ranks run the same program on the same kind of machine.
struct Record {
  std::int64_t prompt_index;
  std::int64_t k;
  double reward;
  Digest text;  ///< of prompt and completion
  std::int64_t rank;
  std::int64_t slot;  ///< position among that rank's candidates

  auto position() const { return std::tie(prompt_index, k); }
};

/// The first half of SHA-256: two different texts never meet in practice, even where a model or a
/// data set is hostile.
class TextDigest {
 public:
  /// Lengths are part of what is digested: ("ab", "c") is not ("a", "bc").
  void add(std::string_view text) {
    const std::uint64_t size = text.size();
    whole_.add({reinterpret_cast<const char*>(&size), sizeof size});
    whole_.add(text);
  }

  Digest finish() {
    const auto whole = whole_.finish();
    Digest half;
    std::memcpy(half.data(), whole.data(), half.size());
    return half;
  }

 private:
  Sha256 whole_;
};

std::vector<Record> records_of(std::span<const KeepCandidate> candidates, int rank) {
  std::vector<Record> records;
  records.reserve(candidates.size());
  for (const auto& each : candidates) {
    TextDigest digest;
    digest.add(each.prompt);
    digest.add(each.completion);
    records.push_back({each.prompt_index, each.k, each.reward, digest.finish(), rank,
                       static_cast<std::int64_t>(records.size())});
  }
  return records;
}

/// Every rank's records, sorted by (prompt_index, k).
std::vector<Record> gather(Communicator& comm, const std::vector<Record>& mine) {
  std::vector<Record> all;
  for (const auto& bytes : comm.all_gather_bytes(std::as_bytes(std::span{mine}))) {
    const std::size_t before = all.size();
    all.resize(before + bytes.size() / sizeof(Record));
    if (!bytes.empty()) std::memcpy(all.data() + before, bytes.data(), bytes.size());
  }
  std::sort(all.begin(), all.end(),
            [](const Record& a, const Record& b) { return a.position() < b.position(); });
  return all;
}

std::string name_of(const Record& record) {
  return "prompt " + std::to_string(record.prompt_index) + " of the round, k " +
         std::to_string(record.k);
}

void require_sound(const std::vector<Record>& all) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!std::isfinite(all[i].reward)) {
      throw InputError("the reward of " + name_of(all[i]) + " is " + std::to_string(all[i].reward) +
                       "; rewards must be finite numbers");
    }
    if (i > 0 && all[i].position() == all[i - 1].position()) {
      throw Error(ExitCode::Internal, name_of(all[i]) + " was completed twice, by ranks " +
                                          std::to_string(all[i - 1].rank) + " and " +
                                          std::to_string(all[i].rank));
    }
  }
}

void shuffle_rewards(std::vector<Record>& all, const KeyedRandom& random) {
  std::vector<double> rewards;
  for (const auto& each : all) rewards.push_back(each.reward);
  const auto order = keyed_permutation(static_cast<std::int64_t>(all.size()), random);
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].reward = rewards[static_cast<std::size_t>(order[i])];
  }
}

/// The three rules, on the sorted list of all ranks.
class Rules {
 public:
  Rules(const KeepOptions& options, const std::vector<Record>& all)
      : options_(options), all_(all), outcomes_(all.size(), KeepOutcome::Kept) {}

  std::vector<KeepOutcome> apply() {
    if (options_.threshold) drop_below(*options_.threshold);
    if (options_.dedup == DedupRule::Exact) drop_duplicates();
    if (options_.best_of) keep_best(static_cast<std::size_t>(*options_.best_of));
    return std::move(outcomes_);
  }

 private:
  bool is_left(std::size_t i) const { return outcomes_[i] == KeepOutcome::Kept; }

  void drop_below(double threshold) {
    for (std::size_t i = 0; i < all_.size(); ++i) {
      if (all_[i].reward < threshold) outcomes_[i] = KeepOutcome::BelowThreshold;
    }
  }

  void drop_duplicates() {
    std::set<Digest> seen;
    for (std::size_t i = 0; i < all_.size(); ++i) {
      if (is_left(i) && !seen.insert(all_[i].text).second) outcomes_[i] = KeepOutcome::Duplicate;
    }
  }

  void keep_best(std::size_t most) {
    std::map<std::int64_t, std::vector<std::size_t>> left_of_prompt;
    for (std::size_t i = 0; i < all_.size(); ++i) {
      if (is_left(i)) left_of_prompt[all_[i].prompt_index].push_back(i);
    }
    for (auto& [prompt, left] : left_of_prompt) {
      std::stable_sort(left.begin(), left.end(), [&](std::size_t a, std::size_t b) {
        return all_[a].reward > all_[b].reward;
      });
      for (std::size_t i = most; i < left.size(); ++i) outcomes_[left[i]] = KeepOutcome::NotBest;
    }
  }

  const KeepOptions& options_;
  const std::vector<Record>& all_;
  std::vector<KeepOutcome> outcomes_;
};

KeepCounts counts_of(const std::vector<KeepOutcome>& outcomes) {
  const auto number_of = [&](KeepOutcome outcome) {
    return static_cast<std::int64_t>(std::count(outcomes.begin(), outcomes.end(), outcome));
  };
  KeepCounts counts;
  counts.generated = static_cast<std::int64_t>(outcomes.size());
  counts.below_threshold = number_of(KeepOutcome::BelowThreshold);
  counts.duplicate = number_of(KeepOutcome::Duplicate);
  counts.not_best = number_of(KeepOutcome::NotBest);
  counts.kept = number_of(KeepOutcome::Kept);
  const auto dropped = counts.below_threshold + counts.duplicate + counts.not_best;
  if (counts.generated != counts.kept + dropped) {
    throw Error(ExitCode::Internal,
                "kept and dropped completions do not add up to those generated");
  }
  return counts;
}

}  // namespace

void require_valid(const KeepOptions& options) {
  const bool has_rule = options.threshold || options.best_of || options.dedup != DedupRule::None;
  if (options.all && has_rule) {
    throw ConfigError("keep: all keeps everything; drop it, or drop threshold, best_of and dedup");
  }
  if (options.threshold && !std::isfinite(*options.threshold)) {
    throw ConfigError("keep.threshold must be a finite number");
  }
  if (options.best_of && *options.best_of < 1) {
    throw ConfigError("keep.best_of must be at least 1, got " + std::to_string(*options.best_of));
  }
}

std::string_view name_of(KeepOutcome outcome) {
  switch (outcome) {
    case KeepOutcome::Kept: return "kept";
    case KeepOutcome::BelowThreshold: return "below_threshold";
    case KeepOutcome::Duplicate: return "duplicate";
    case KeepOutcome::NotBest: return "not_best";
  }
  return "unknown";
}

KeepDecision decide_kept(Communicator& comm, const KeepOptions& options,
                         std::span<const KeepCandidate> mine,
                         const std::optional<KeyedRandom>& shuffle) {
  require_valid(options);
  auto all = gather(comm, records_of(mine, comm.rank()));
  require_sound(all);
  if (shuffle) shuffle_rewards(all, *shuffle);
  const auto outcomes = Rules{options, all}.apply();
  KeepDecision decision{std::vector<KeepOutcome>(mine.size()), std::vector<double>(mine.size()),
                        counts_of(outcomes)};
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].rank != comm.rank()) continue;
    const auto slot = static_cast<std::size_t>(all[i].slot);
    decision.outcomes[slot] = outcomes[i];
    decision.rewards[slot] = all[i].reward;
  }
  return decision;
}

}  // namespace hone::launcher

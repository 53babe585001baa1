// What must hold for any samples, lengths and ranks: every sample once, nobody far ahead.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <numeric>

#include "hone/core/keyed_random.hpp"
#include "hone/core/training/plans.hpp"

namespace hone {
namespace {

using Indices = std::vector<std::int64_t>;

rc::Gen<std::int64_t> between(std::int64_t least, std::int64_t most) {
  return rc::gen::inRange<std::int64_t>(least, most + 1);
}

/// Lengths of up to `most` samples, a few of them far longer than the others.
rc::Gen<Indices> lengths_of(std::size_t most) {
  const auto length = rc::gen::oneOf(between(1, 10), between(1, 200));
  return rc::gen::mapcat(rc::gen::inRange<std::size_t>(0, most + 1), [=](std::size_t count) {
    return rc::gen::container<Indices>(count, length);
  });
}

Indices joined(const std::vector<Indices>& lists) {
  Indices all;
  for (const auto& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

bool is_permutation_of_first(Indices all, std::int64_t count) {
  Indices expected(static_cast<std::size_t>(count));
  std::iota(expected.begin(), expected.end(), 0);
  std::ranges::sort(all);
  return all == expected;
}

Indices loads_of(const std::vector<Indices>& shares, const Indices& lengths) {
  Indices loads;
  for (const auto& share : shares) {
    loads.push_back(0);
    for (const auto item : share) loads.back() += lengths[static_cast<std::size_t>(item)];
  }
  return loads;
}

/// The largest load that any way of dealing `lengths` from `next` on can do with, given `loads`.
std::int64_t least_possible(const Indices& lengths, std::size_t next, Indices& loads) {
  if (next == lengths.size()) return std::ranges::max(loads);
  auto least = std::numeric_limits<std::int64_t>::max();
  for (auto& load : loads) {
    load += lengths[next];
    least = std::min(least, least_possible(lengths, next + 1, loads));
    load -= lengths[next];
  }
  return least;
}

RC_GTEST_PROP(KeyedPermutation, EveryNumberOnce, ()) {
  const auto count = *between(0, 300);
  const KeyedRandom random{*rc::gen::arbitrary<std::uint64_t>()};
  RC_ASSERT(is_permutation_of_first(keyed_permutation(count, random), count));
}

RC_GTEST_PROP(PlanUpdates, EverySampleOnceInUpdatesOfTheAskedSize, ()) {
  const auto count = *between(0, 200), size = *between(1, 50);
  const auto shuffle = *rc::gen::arbitrary<bool>();
  const auto seed = *rc::gen::arbitrary<std::uint64_t>();
  const auto call = *rc::gen::arbitrary<std::uint64_t>();
  const auto updates = plan_updates(count, size, shuffle, seed, call);
  RC_ASSERT(static_cast<std::int64_t>(updates.size()) == (count + size - 1) / size);
  for (std::size_t i = 0; i < updates.size(); ++i) {
    const auto left = count - static_cast<std::int64_t>(i) * size;
    RC_ASSERT(static_cast<std::int64_t>(updates[i].size()) == std::min(size, left));
  }
  const auto all = joined(updates);
  RC_ASSERT(is_permutation_of_first(all, count));
  if (!shuffle) RC_ASSERT(std::ranges::is_sorted(all));
  if (count > 0) RC_ASSERT(all == plan_updates(count, count, shuffle, seed, call).front());
}

RC_GTEST_PROP(BalanceByTokens, EveryItemOnceInOrderAndNobodyFarAhead, ()) {
  const auto lengths = *lengths_of(60);
  const auto ranks = *between(1, 9);
  const auto shares = balance_by_tokens(lengths, static_cast<int>(ranks));
  RC_ASSERT(static_cast<std::int64_t>(shares.size()) == ranks);
  RC_ASSERT(is_permutation_of_first(joined(shares), static_cast<std::int64_t>(lengths.size())));
  for (const auto& share : shares) RC_ASSERT(std::ranges::is_sorted(share));
  if (lengths.empty()) return;
  const auto loads = loads_of(shares, lengths);
  const auto total = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  // Who has most was the lightest before its last item, so below the mean of the others' items.
  RC_ASSERT(ranks * std::ranges::max(loads) <= total + (ranks - 1) * std::ranges::max(lengths));
}

RC_GTEST_PROP(BalanceByTokens, IsWithinAThirdOfTheBest, ()) {
  const auto lengths = *lengths_of(7);
  const auto ranks = *between(1, 3);
  RC_PRE(!lengths.empty());
  const auto most =
      std::ranges::max(loads_of(balance_by_tokens(lengths, static_cast<int>(ranks)), lengths));
  Indices loads(static_cast<std::size_t>(ranks), 0);
  // Source: R. L. Graham, Bounds on multiprocessing timing anomalies (1969): 4/3 - 1/(3 ranks).
  RC_ASSERT(3 * ranks * most <= (4 * ranks - 1) * least_possible(lengths, 0, loads));
}

RC_GTEST_PROP(PlanMicroBatches, EveryRowOnceInNearlyEqualParts, ()) {
  const auto count = *between(0, 300), rows = *between(1, 40);
  const auto cuts = plan_micro_batches(Indices(static_cast<std::size_t>(count), 7), {.rows = rows});
  RC_ASSERT(static_cast<std::int64_t>(cuts.size()) == (count + rows - 1) / rows);
  std::int64_t end = 0, least = rows, most = 0;
  for (const auto& [from, to] : cuts) {
    RC_ASSERT(from == end);
    end = to;
    least = std::min(least, to - from);
    most = std::max(most, to - from);
  }
  RC_ASSERT(end == count);
  RC_ASSERT(most <= rows);
  RC_ASSERT(cuts.empty() || most - least <= 1);
}

RC_GTEST_PROP(PlanMicroBatches, EveryRowOnceWithinTheTokens, ()) {
  const auto lengths = *lengths_of(60);
  const MicroBatchLimits limits{.rows = *between(1, 20), .tokens = *between(1, 100)};
  std::int64_t end = 0;
  for (const auto& [from, to] : plan_micro_batches(lengths, limits)) {
    RC_ASSERT(from == end && to > from && to - from <= limits.rows);
    end = to;
    const auto tokens = std::accumulate(lengths.begin() + from, lengths.begin() + to, std::int64_t{0});
    RC_ASSERT(tokens <= *limits.tokens || to - from == 1);
  }
  RC_ASSERT(end == static_cast<std::int64_t>(lengths.size()));
}

}  // namespace
}  // namespace hone

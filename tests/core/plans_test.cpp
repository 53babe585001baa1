// Which samples make an update, and which rank computes which of them.
#include "hone/core/training/plans.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "hone/core/keyed_random.hpp"

namespace hone {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using Indices = std::vector<std::int64_t>;

Indices sorted(const std::vector<Indices>& lists) {
  Indices all;
  for (const auto& list : lists) all.insert(all.end(), list.begin(), list.end());
  std::ranges::sort(all);
  return all;
}

Indices first(std::int64_t n) {
  Indices all(static_cast<std::size_t>(n));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

TEST(PlanUpdates, CutsInOrderAndDropsNothing) {
  EXPECT_THAT(plan_updates(5, 2, /*shuffle=*/false, 0, 0),
              ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3), ElementsAre(4)));
  EXPECT_THAT(plan_updates(4, 2, false, 0, 0), ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3)));
  EXPECT_THAT(plan_updates(2, 8, false, 0, 0), ElementsAre(ElementsAre(0, 1)));
  EXPECT_THAT(plan_updates(0, 2, false, 0, 0), IsEmpty());
}

TEST(PlanUpdates, ShufflingUsesEverySampleOnce) {
  const auto updates = plan_updates(10, 4, true, 42, 0);
  ASSERT_EQ(updates.size(), 3U);
  EXPECT_EQ(updates[2].size(), 2U);
  EXPECT_EQ(sorted(updates), first(10));
}

TEST(PlanUpdates, TheOrderBelongsToSeedAndCall) {
  const auto order = [](std::uint64_t seed, std::uint64_t call) {
    return plan_updates(20, 20, true, seed, call).front();
  };
  EXPECT_EQ(order(42, 3), order(42, 3));
  EXPECT_NE(order(42, 3), order(42, 4));
  EXPECT_NE(order(42, 3), order(43, 3));
  EXPECT_NE(order(42, 3), first(20));
}

TEST(PlanUpdates, TheOrderDoesNotDependOnTheSizeOfUpdates) {
  Indices joined;
  for (const auto& update : plan_updates(20, 3, true, 42, 0)) {
    joined.insert(joined.end(), update.begin(), update.end());
  }
  EXPECT_EQ(joined, plan_updates(20, 20, true, 42, 0).front());
}

TEST(BalanceByTokens, LongestFirstToWhoHasLeast) {
  EXPECT_THAT(balance_by_tokens(Indices{10, 1, 6, 4, 5}, 2),
              ElementsAre(ElementsAre(0, 3), ElementsAre(1, 2, 4)));
}

TEST(BalanceByTokens, FewerItemsThanRanks) {
  EXPECT_THAT(balance_by_tokens(Indices{3, 7}, 4),
              ElementsAre(ElementsAre(1), ElementsAre(0), IsEmpty(), IsEmpty()));
  EXPECT_THAT(balance_by_tokens({}, 2), ElementsAre(IsEmpty(), IsEmpty()));
}

TEST(BalanceByTokens, EveryItemOnceInOrderAndNobodyFarAhead) {
  const KeyedRandom random{7};
  for (std::uint64_t trial = 0; trial < 50; ++trial) {
    Indices lengths(1 + random.bits(1000 * trial) % 40);
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      lengths[i] = 1 + static_cast<std::int64_t>(random.bits(1000 * trial + i + 1) % 200);
    }
    for (const int ranks : {1, 2, 3, 8}) {
      const auto shares = balance_by_tokens(lengths, ranks);
      ASSERT_EQ(shares.size(), static_cast<std::size_t>(ranks));
      EXPECT_EQ(sorted(shares), first(static_cast<std::int64_t>(lengths.size())));
      Indices loads;
      for (const auto& share : shares) {
        EXPECT_TRUE(std::ranges::is_sorted(share));
        loads.push_back(0);
        for (const auto item : share) loads.back() += lengths[static_cast<std::size_t>(item)];
      }
      // Whoever got the last item had the least before it.
      EXPECT_LE(std::ranges::max(loads) - std::ranges::min(loads), std::ranges::max(lengths));
    }
  }
}

TEST(DealByTokens, ItemsStayWhereThatIsAsQuick) {
  // Balanced they would be {0, 2} and {1, 3}.
  EXPECT_THAT(deal_by_tokens(Indices{5, 5, 4, 4}, std::vector{1, 0, 1, 0}, 2),
              ElementsAre(ElementsAre(1, 3), ElementsAre(0, 2)));
  EXPECT_THAT(deal_by_tokens(Indices{7}, std::vector{2}, 3),
              ElementsAre(IsEmpty(), IsEmpty(), ElementsAre(0)));
  EXPECT_THAT(deal_by_tokens({}, {}, 2), ElementsAre(IsEmpty(), IsEmpty()));
}

TEST(DealByTokens, TheyMoveWhereThatShortensTheLongestByMoreThanAFewPercent) {
  const auto stay = [](std::int64_t longer) {
    // Balanced, each rank has 100.
    const Indices lengths{50 + longer, 50, 50 - longer, 50};
    return deal_by_tokens(lengths, std::vector{0, 0, 1, 1}, 2)[0] == Indices{0, 1};
  };
  EXPECT_TRUE(stay(0));
  EXPECT_TRUE(stay(2)) << "102 instead of 100";
  EXPECT_FALSE(stay(3)) << "103 instead of 100";
}

TEST(DealByTokens, OnlyTheExcessMoves) {
  // Balanced they would be {0, 3, 4} and {1, 2, 5}: rank 0 has 24 of 36, and gives 6 away.
  EXPECT_THAT(deal_by_tokens(Indices{9, 9, 6, 6, 3, 3}, std::vector{0, 0, 0, 1, 1, 1}, 2),
              ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3, 4, 5)));
  // One rank has all: it keeps half.
  EXPECT_THAT(deal_by_tokens(Indices{4, 3, 2, 1}, std::vector(4, 1), 2),
              ElementsAre(ElementsAre(1, 2), ElementsAre(0, 3)));
}

TEST(DealByTokens, WhatCannotStayOrAllRanksHaveIsBalanced) {
  const Indices lengths{10, 1, 6, 4, 5};
  // To keep what fits would leave 7 on each rank, and another 2: 9 where 8 will do.
  const Indices odd{4, 3, 3, 2, 2, 2};
  EXPECT_EQ(deal_by_tokens(odd, std::vector{0, 0, 1, 1, 1, 1}, 2), balance_by_tokens(odd, 2));
  EXPECT_EQ(deal_by_tokens(lengths, std::vector(5, -1), 2), balance_by_tokens(lengths, 2));
}

TEST(PlanMicroBatches, ConsecutiveAndNearlyEqual) {
  for (std::int64_t count = 0; count <= 40; ++count) {
    for (std::int64_t rows = 1; rows <= 9; ++rows) {
      const auto cuts = plan_micro_batches(Indices(static_cast<std::size_t>(count), 7), {.rows = rows});
      ASSERT_EQ(static_cast<std::int64_t>(cuts.size()), (count + rows - 1) / rows);
      std::int64_t end = 0, least = rows, most = 0;
      for (const auto& [from, to] : cuts) {
        EXPECT_EQ(from, end);
        end = to;
        least = std::min(least, to - from);
        most = std::max(most, to - from);
      }
      EXPECT_EQ(end, count);
      if (count == 0) continue;
      EXPECT_LE(most, rows);
      EXPECT_LE(most - least, 1) << count << " rows by " << rows;
    }
  }
}

TEST(PlanMicroBatches, HoldNoMoreTokensThanTheyMay) {
  const Indices lengths{3, 4, 9, 1, 1, 1, 5};
  EXPECT_THAT(plan_micro_batches(lengths, {.rows = 7, .tokens = 7}),
              ElementsAre(Pair(0, 2), Pair(2, 3), Pair(3, 6), Pair(6, 7)));
  EXPECT_THAT(plan_micro_batches(lengths, {.rows = 2, .tokens = 7}),
              ElementsAre(Pair(0, 1), Pair(1, 2), Pair(2, 3), Pair(3, 5), Pair(5, 7)));
  EXPECT_THAT(plan_micro_batches(lengths, {.rows = 7, .tokens = 24}), ElementsAre(Pair(0, 7)));
}

}  // namespace
}  // namespace hone

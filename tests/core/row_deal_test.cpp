// Which rank computes which rows, and how they get there.
#include "hone/core/training/row_deal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <numeric>

#include "fakes/counting_communicator.hpp"
#include "hone/core/training/plans.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "hone/distributed/thread_world.hpp"

namespace hone {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::CountingCommunicator;

/// Row `number` of an encoder-decoder: no two have the same contents or lengths in all lists.
TokenRow row_number(std::int64_t number) {
  TokenRow row{.weight = 0.1 * static_cast<double>(number + 1)};
  for (std::int64_t i = 0; i < 2 + number % 4; ++i) row.ids.push_back(100 * number + i);
  row.labels = row.ids;
  row.labels[0] = kIgnoredLabel;
  for (std::int64_t i = 0; i < 1 + number % 3; ++i) row.source_ids.push_back(50 + 100 * number + i);
  return row;
}

TokenRow row_of_length(std::int64_t length) {
  const std::vector<std::int64_t> ids(static_cast<std::size_t>(length), length);
  return {ids, ids};
}

/// Rows in one order of which each rank has those that holder(i) gives it.
LocalRows held_by(int rank, const std::vector<TokenRow>& rows,
                  const std::function<int(std::size_t)>& holder) {
  LocalRows mine;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (holder(i) != rank) continue;
    mine.rows.push_back(rows[i]);
    mine.order.push_back(static_cast<std::int64_t>(i));
  }
  return mine;
}

std::vector<std::int64_t> everything(const GlobalRows& rows) {
  std::vector<std::int64_t> places(static_cast<std::size_t>(rows.size()));
  std::iota(places.begin(), places.end(), 0);
  return places;
}

std::vector<TokenRow> twelve_rows() {
  std::vector<TokenRow> rows;
  for (std::int64_t i = 0; i < 12; ++i) rows.push_back(row_number(i));
  return rows;
}

std::int64_t bytes_of(const TokenRow& row) {
  return 8 * (3 + 2 * row.length() + row.source_length());
}

/// What a rank did and has after rows that lay somewhere were dealt to three ranks and moved.
struct Moved {
  RowDeal deal;
  GlobalRows rows;
  std::int64_t exchanges = 0, sent = 0;
};

constexpr int kRanks = 3;

std::vector<Moved> moved(const std::vector<TokenRow>& rows, BatchScope scope,
                         const std::function<int(std::size_t)>& holder, bool is_fixed = false) {
  std::vector<Moved> of_ranks(kRanks);
  distributed::ThreadWorld{kRanks}.run([&](Communicator& inner) {
    CountingCommunicator comm{inner};
    auto& result = of_ranks[static_cast<std::size_t>(comm.rank())];
    auto sharding = Sharding::of_ranks(comm);
    if (is_fixed) sharding = Sharding::fixed(comm, 2 * kRanks);
    result.rows = exchange_rows(comm, scope, held_by(comm.rank(), rows, holder));
    result.deal = deal_rows(sharding, result.rows, everything(result.rows));
    move_rows(comm, sharding, {&result.deal, 1}, result.rows);
    result.exchanges = comm.exchanges();
    result.sent = comm.sent();
  });
  return of_ranks;
}

TEST(MoveRows, EveryRankGetsExactlyItsShareBitForBit) {
  const auto rows = twelve_rows();
  const auto of_ranks = moved(rows, BatchScope::PerRank, [](std::size_t) { return 1; });
  std::int64_t left_rank_1 = 0;
  for (int rank = 0; rank < kRanks; ++rank) {
    const auto& mine = of_ranks[static_cast<std::size_t>(rank)];
    EXPECT_EQ(mine.deal, of_ranks[0].deal);
    EXPECT_EQ(mine.exchanges, 1);
    std::vector<TokenRow> expected(rows.size());
    if (rank == 1) expected = rows;
    for (const auto place : mine.deal[static_cast<std::size_t>(rank)]) {
      const auto i = static_cast<std::size_t>(place);
      expected[i] = rows[i];
      if (rank != 1) left_rank_1 += bytes_of(rows[i]);
      EXPECT_EQ(mine.rows.headers[i].holder, rank);
    }
    EXPECT_FALSE(mine.deal[static_cast<std::size_t>(rank)].empty());
    EXPECT_EQ(mine.rows.rows, expected) << "rank " << rank;
  }
  EXPECT_EQ(of_ranks[1].sent, left_rank_1);
  EXPECT_EQ(of_ranks[0].sent + of_ranks[2].sent, 0);
}

TEST(MoveRows, BalancedRowsStayWithoutAMessage) {
  const std::vector<TokenRow> rows(6, row_of_length(10));
  const auto holder = [](std::size_t i) { return static_cast<int>(i) / 2; };
  for (const auto& mine : moved(rows, BatchScope::PerRank, holder)) {
    EXPECT_THAT(mine.deal, ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3), ElementsAre(4, 5)));
    EXPECT_EQ(mine.exchanges, 0);
  }
}

TEST(MoveRows, AFixedShardingDoesNotAskWhoHoldsThem) {
  const auto rows = twelve_rows();
  const auto one = moved(rows, BatchScope::PerRank, [](std::size_t) { return 2; }, true);
  const auto other =
      moved(rows, BatchScope::PerRank, [](std::size_t i) { return static_cast<int>(i % 2); }, true);
  EXPECT_EQ(one[0].deal, other[0].deal);
  EXPECT_EQ(one[0].deal.size(), 6U);
  for (std::size_t rank = 0; rank < kRanks; ++rank) {
    for (const auto shard : {2 * rank, 2 * rank + 1}) {
      for (const auto place : other[rank].deal[shard]) {
        const auto i = static_cast<std::size_t>(place);
        EXPECT_EQ(other[rank].rows.rows[i], rows[i]) << "rank " << rank;
      }
    }
  }
}

TEST(DealRows, ByAFixedShardingRowsDoNotStay) {
  distributed::ThreadWorld{kRanks}.run([](Communicator& comm) {
    const std::vector<TokenRow> rows(6, row_of_length(10));
    const auto all = exchange_rows(comm, BatchScope::PerRank,
                                   held_by(comm.rank(), rows, [](std::size_t i) {
                                     return static_cast<int>(i) / 2;
                                   }));
    const auto places = everything(all);
    EXPECT_EQ(deal_rows(Sharding::fixed(comm, kRanks), all, places),
              balance_by_tokens(std::vector<std::int64_t>(6, 10), kRanks));
    EXPECT_NE(deal_rows(Sharding::of_ranks(comm), all, places),
              deal_rows(Sharding::fixed(comm, kRanks), all, places));
  });
}

TEST(MoveRows, RowsOfRankZeroGoToWhoComputesThem) {
  const auto rows = twelve_rows();
  const auto of_ranks = moved(rows, BatchScope::Root, [](std::size_t) { return 0; });
  for (std::size_t rank = 0; rank < kRanks; ++rank) {
    EXPECT_FALSE(of_ranks[rank].deal[rank].empty());
    for (const auto place : of_ranks[rank].deal[rank]) {
      const auto i = static_cast<std::size_t>(place);
      EXPECT_EQ(of_ranks[rank].rows.rows[i], rows[i]);
    }
  }
}

TEST(MoveRows, WhatEveryRankHasNeverMoves) {
  const auto rows = twelve_rows();
  distributed::ThreadWorld{kRanks}.run([&](Communicator& inner) {
    CountingCommunicator comm{inner};
    auto all = exchange_rows(comm, BatchScope::Replicated, {.rows = rows, .order = {}});
    const auto sharding = Sharding::of_ranks(comm);
    const auto deal = deal_rows(sharding, all, everything(all));
    move_rows(comm, sharding, {&deal, 1}, all);
    EXPECT_EQ(comm.exchanges(), 0);
    EXPECT_EQ(all.rows, rows);
  });
}

TEST(MoveRows, OneMessageServesAllUpdatesAndAMovedRowStays) {
  const auto rows = twelve_rows();
  distributed::ThreadWorld{kRanks}.run([&](Communicator& inner) {
    CountingCommunicator comm{inner};
    auto all = exchange_rows(comm, BatchScope::PerRank,
                             held_by(comm.rank(), rows, [](std::size_t) { return 0; }));
    const auto sharding = Sharding::of_ranks(comm);
    std::vector<RowDeal> deals;
    for (const auto& chunk : plan_updates(12, 5, true, 1, 0)) {
      deals.push_back(deal_rows(sharding, all, chunk));
    }
    move_rows(comm, sharding, deals, all);
    EXPECT_EQ(comm.exchanges(), 1);
    for (const auto& deal : deals) {
      for (const auto place : shards_of_rank(sharding, deal)[0]) {
        const auto i = static_cast<std::size_t>(place);
        EXPECT_EQ(all.rows[i], rows[i]);
      }
    }
    // Dealt again they lie where they are wanted.
    move_rows(comm, sharding, deals, all);
    EXPECT_EQ(comm.exchanges(), 1);
  });
}

TEST(MoveRows, NoRowsAreNoWork) {
  for (const auto& mine : moved({}, BatchScope::PerRank, [](std::size_t) { return 0; })) {
    EXPECT_THAT(mine.deal, ElementsAre(IsEmpty(), IsEmpty(), IsEmpty()));
    EXPECT_EQ(mine.exchanges, 0);
  }
}

TEST(DigestOfRows, DoesNotDependOnRanksScopesAndHolders) {
  const auto rows = twelve_rows();
  distributed::LoopbackCommunicator alone;
  const auto expected = digest_of(exchange_rows(alone, BatchScope::Replicated, {rows, {}}));
  EXPECT_EQ(digest_of(rows), expected);
  for (const int odd : {0, 2}) {
    const auto holder = [odd](std::size_t i) { return i < 5 ? odd : 1; };
    for (const auto& mine : moved(rows, BatchScope::PerRank, holder)) {
      EXPECT_EQ(digest_of(mine.rows), expected);
    }
  }
  for (const auto& mine : moved(rows, BatchScope::Root, [](std::size_t) { return 0; })) {
    EXPECT_EQ(digest_of(mine.rows), expected);
  }
}

TEST(DigestOfRows, SeesEveryListAndTheOrder) {
  const auto rows = twelve_rows();
  const auto changed = [&](const std::function<void(std::vector<TokenRow>&)>& change) {
    auto others = rows;
    change(others);
    return digest_of(others) != digest_of(rows);
  };
  EXPECT_FALSE(changed([](auto&) {}));
  EXPECT_TRUE(changed([](auto& all) { ++all[3].ids[1]; }));
  EXPECT_TRUE(changed([](auto& all) { all[3].labels[1] = kIgnoredLabel; }));
  EXPECT_TRUE(changed([](auto& all) { ++all[11].source_ids[0]; }));
  EXPECT_TRUE(changed([](auto& all) { all[0].weight = 0.25; }));
  EXPECT_TRUE(changed([](auto& all) { std::swap(all[0], all[4]); }));
  EXPECT_TRUE(changed([](auto& all) { all.pop_back(); }));
}

}  // namespace
}  // namespace hone

#include "hone/core/buffer_partition.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace hone {
namespace {

TEST(BufferPartition, EveryElementHasOneOwnerAndBlocksBeginAtGrains) {
  for (const int ranks : {1, 2, 3, 7}) {
    for (const std::int64_t count : {0, 1, 15, 16, 47, 48, 1000, 4096, 100003}) {
      for (const std::int64_t bucket : {1, 100, 5000, 1 << 30}) {
        const BufferPartition parts{count, ranks, bucket};
        std::vector<int> owners(static_cast<std::size_t>(count), 0);
        for (std::int64_t i = 0; i < parts.num_buckets(); ++i) {
          for (int rank = 0; rank < ranks; ++rank) {
            const auto owned = parts.owned(i, rank);
            EXPECT_EQ(owned.begin % BufferPartition::kGrain, 0);
            EXPECT_EQ(owned, overlap(owned, parts.bucket(i)));
            EXPECT_EQ(owned.count - parts.block(i), rank + 1 == ranks ? parts.rest(i).count : 0);
            for (auto j = owned.begin; j < owned.end(); ++j) ++owners[static_cast<std::size_t>(j)];
          }
          if (i + 1 < parts.num_buckets()) {
            EXPECT_EQ(parts.rest(i).count, 0);
          }
          EXPECT_LT(parts.rest(i).count, ranks * BufferPartition::kGrain);
        }
        EXPECT_EQ(owners, std::vector<int>(static_cast<std::size_t>(count), 1))
            << count << " elements, " << ranks << " ranks, buckets of " << bucket;
      }
    }
  }
}

TEST(BufferPartition, BucketsHaveTheAskedSizeRoundedUp) {
  const BufferPartition parts{1000, 2, 100};
  EXPECT_EQ(parts.num_buckets(), 8);
  EXPECT_EQ(parts.bucket(0), (ElementRange{0, 128}));
  EXPECT_EQ(parts.bucket(7), (ElementRange{896, 104}));
  EXPECT_EQ(BufferPartition(1000, 2).num_buckets(), 1);
  EXPECT_EQ(BufferPartition(0, 2).num_buckets(), 0);
}

TEST(Overlap, IsWhatBothHave) {
  EXPECT_EQ(overlap({0, 10}, {5, 10}), (ElementRange{5, 5}));
  EXPECT_EQ(overlap({0, 10}, {2, 3}), (ElementRange{2, 3}));
  EXPECT_EQ(overlap({0, 10}, {10, 3}).count, 0);
  EXPECT_EQ(overlap({20, 10}, {0, 3}).count, 0);
}

}  // namespace
}  // namespace hone

#include "hone/core/keyed_random.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <gtest/gtest.h>

namespace hone {
namespace {

using Block = std::array<std::uint32_t, 4>;

TEST(Philox4x32, GivesTheKnownAnswersOfRandom123) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(KeyedRandom, IsTheSameNumberWheneverItIsAskedFor) {
  const KeyedRandom one{42, 3, 7, 1};
  const KeyedRandom again{42, 3, 7, 1};
  const std::uint64_t late = one.bits(1000);
  EXPECT_EQ(again.bits(1000), late);
  one.bits(0);
  EXPECT_EQ(one.bits(1000), late);
}

TEST(KeyedRandom, KeepsItsValuesForever) {
  // Seeds are promises to users: a change here changes every run.
  const KeyedRandom random{42, 3, 7, 1};
  EXPECT_EQ(random.bits(0), 0xd17916d6bcf6fd06U);
  EXPECT_EQ(random.bits(std::uint64_t{1} << 40), 0xf664312bdcbe1c5cU);
}

TEST(KeyedRandom, EveryPartAndIndexNamesAnotherNumber) {
  std::set<std::uint64_t> seen;
  std::size_t drawn = 0;
  const std::uint64_t wide = std::uint64_t{1} << 32;
  for (std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, wide}) {
    for (std::uint64_t a : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, wide}) {
      for (std::uint64_t b : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, wide}) {
        for (std::uint64_t c : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, wide}) {
          const KeyedRandom random{seed, a, b, c};
          for (std::uint64_t index : {std::uint64_t{0}, std::uint64_t{1}, wide, wide + 1}) {
            seen.insert(random.bits(index));
            ++drawn;
          }
        }
      }
    }
  }
  EXPECT_EQ(seen.size(), drawn);
}

TEST(KeyedRandom, UniformFillsTheUnitIntervalEvenly) {
  const KeyedRandom random{1};
  constexpr int kDraws = 100'000;
  std::array<int, 10> bins{};
  double sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double value = random.uniform(static_cast<std::uint64_t>(i));
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    ++bins[static_cast<std::size_t>(value * 10)];
    sum += value;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * std::sqrt(1.0 / 12 / kDraws));
  for (const int count : bins) EXPECT_NEAR(count, kDraws / 10, 5 * std::sqrt(kDraws * 0.09));
}

TEST(KeyedPermutation, HoldsEveryNumberOnce) {
  for (const std::int64_t n : {0, 1, 2, 3, 100}) {
    auto order = keyed_permutation(n, KeyedRandom{7});
    ASSERT_EQ(static_cast<std::int64_t>(order.size()), n);
    std::sort(order.begin(), order.end());
    for (std::int64_t i = 0; i < n; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  }
}

TEST(KeyedPermutation, EveryOrderIsEquallyLikely) {
  constexpr int kDraws = 24'000;
  std::map<std::vector<std::int64_t>, int> counts;
  for (std::uint64_t i = 0; i < kDraws; ++i) ++counts[keyed_permutation(4, KeyedRandom{5, i})];
  ASSERT_EQ(counts.size(), 24U);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 5 * std::sqrt(1000.0));
}

TEST(KeyedPermutation, DependsOnTheKey) {
  EXPECT_EQ(keyed_permutation(50, KeyedRandom{1, 2}), keyed_permutation(50, KeyedRandom{1, 2}));
  EXPECT_NE(keyed_permutation(50, KeyedRandom{1, 2}), keyed_permutation(50, KeyedRandom{1, 3}));
  EXPECT_NE(keyed_permutation(50, KeyedRandom{1, 2}), keyed_permutation(50, KeyedRandom{2, 2}));
}

}  // namespace
}  // namespace hone

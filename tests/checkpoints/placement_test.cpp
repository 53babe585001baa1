#include "placement.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace hone::checkpoints::detail {
namespace {

using ::testing::ElementsAre;

std::vector<std::int64_t> loads(const std::vector<std::int64_t>& bytes, int ranks) {
  const auto owners = assign_by_bytes(bytes, ranks);
  EXPECT_EQ(owners.size(), bytes.size());
  std::vector<std::int64_t> loads(static_cast<std::size_t>(ranks));
  for (std::size_t i = 0; i < owners.size(); ++i) {
    loads.at(static_cast<std::size_t>(owners[i])) += bytes[i];
  }
  return loads;
}

TEST(PlacementTest, LargestFirstToTheLeastLoaded) {
  EXPECT_THAT(assign_by_bytes(std::vector<std::int64_t>{3, 9, 4, 5}, 2), ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(assign_by_bytes(std::vector<std::int64_t>{2, 2, 2}, 3), ElementsAre(0, 1, 2));
  EXPECT_THAT(assign_by_bytes(std::vector<std::int64_t>{}, 3), ElementsAre());
  EXPECT_THAT(assign_by_bytes(std::vector<std::int64_t>{0, 7}, 1), ElementsAre(0, 0));
}

TEST(PlacementTest, IsWithinFourThirdsOfAnEvenSplitOrTheLargestItem) {
  std::vector<std::int64_t> bytes;
  for (int i = 0; i < 200; ++i) bytes.push_back((i * 7919) % 1000 + (i % 50 == 0 ? 20'000 : 0));
  const auto total = std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0});
  for (const int ranks : {1, 2, 3, 4, 7, 64}) {
    const auto most = loads(bytes, ranks);
    const auto bound = std::max(static_cast<double>(total) / ranks,
                                static_cast<double>(*std::max_element(bytes.begin(), bytes.end())));
    EXPECT_LE(static_cast<double>(*std::max_element(most.begin(), most.end())), 4.0 / 3.0 * bound);
  }
}

}  // namespace
}  // namespace hone::checkpoints::detail

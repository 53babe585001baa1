#include "exit_meeting.hpp"

#include <gtest/gtest.h>

namespace hone::launcher {
namespace {

TEST(RankThatTells, IsTheLowestThatFailedOfItself) {
  EXPECT_EQ(rank_that_tells({{0, false}, {75, false}}), std::nullopt) << "one was asked to stop";
  EXPECT_EQ(rank_that_tells({{0, false}, {65, true}, {71, true}}), 1);
  EXPECT_EQ(rank_that_tells({{75, true}, {75, true}, {70, true}}), 2) << "others only lost it";
  EXPECT_EQ(rank_that_tells({{0, false}, {75, true}, {75, true}}), 1);
}

}  // namespace
}  // namespace hone::launcher

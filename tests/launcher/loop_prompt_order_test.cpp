#include "hone/launcher/loop/prompt_order.hpp"

#include <algorithm>
#include <numeric>
#include <set>

#include <gtest/gtest.h>

#include "hone/core/error.hpp"

namespace hone::launcher {
namespace {

std::vector<std::int64_t> rounds_laid_end_to_end(std::int64_t rounds, std::int64_t per_round,
                                                 std::int64_t num_prompts,
                                                 std::uint64_t seed = 42) {
  std::vector<std::int64_t> all;
  for (std::int64_t round = 0; round < rounds; ++round) {
    const auto taken = prompts_of_round(seed, round, per_round, num_prompts);
    EXPECT_EQ(static_cast<std::int64_t>(taken.size()), per_round);
    all.insert(all.end(), taken.begin(), taken.end());
  }
  return all;
}

std::vector<std::int64_t> sorted(std::vector<std::int64_t> values) {
  std::sort(values.begin(), values.end());
  return values;
}

TEST(PromptOrder, EveryPassTakesEveryPromptOnce) {
  // 7 rounds of 6 are 3 passes over 14: rounds straddle the passes.
  const auto all = rounds_laid_end_to_end(7, 6, 14);
  std::vector<std::int64_t> whole(14);
  std::iota(whole.begin(), whole.end(), 0);
  for (int pass = 0; pass < 3; ++pass) {
    const auto begin = all.begin() + 14 * pass;
    EXPECT_EQ(sorted({begin, begin + 14}), whole) << "pass " << pass;
  }
}

TEST(PromptOrder, PassesDifferInOrderAndSeedsDiffer) {
  const auto all = rounds_laid_end_to_end(2, 50, 50);
  EXPECT_NE(std::vector<std::int64_t>(all.begin(), all.begin() + 50),
            std::vector<std::int64_t>(all.begin() + 50, all.end()));
  EXPECT_NE(prompts_of_round(1, 0, 50, 50), prompts_of_round(2, 0, 50, 50));
  EXPECT_EQ(prompts_of_round(1, 0, 50, 50), prompts_of_round(1, 0, 50, 50));
}

TEST(PromptOrder, DoesNotDependOnHowPassesAreCutIntoRounds) {
  EXPECT_EQ(rounds_laid_end_to_end(6, 4, 9), rounds_laid_end_to_end(2, 12, 9));
}

TEST(PromptOrder, ARoundMayBeLargerThanTheFile) {
  const auto taken = prompts_of_round(3, 0, 10, 3);
  for (std::int64_t prompt = 0; prompt < 3; ++prompt) {
    EXPECT_GE(std::count(taken.begin(), taken.end(), prompt), 3);
  }
}

TEST(PromptOrder, RefusesWhatMakesNoRound) {
  EXPECT_THROW(prompts_of_round(1, 0, 0, 5), ConfigError);
  EXPECT_THROW(prompts_of_round(1, 0, 5, 0), ConfigError);
  EXPECT_THROW(prompts_of_round(1, -1, 5, 5), ConfigError);
  EXPECT_THROW(prompts_of_round(1, std::int64_t{1} << 62, 5, 5), ConfigError);
}

}  // namespace
}  // namespace hone::launcher

// How logits become a token. Expected probabilities are transformers'.
#include "hone/core/generation/sampling.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

namespace hone {
namespace {

using ::testing::ElementsAre;
using ::testing::Pointwise;
using Values = std::vector<float>;
constexpr float kExcluded = -std::numeric_limits<float>::infinity();

Values softmax(Values logits) {
  double total = 0.0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit));
  for (auto& logit : logits) {
    logit = static_cast<float>(std::exp(static_cast<double>(logit)) / total);
  }
  return logits;
}

/// Probabilities of the logits 3, 2, 1, 0 after `process`.
Values processed(const std::function<void(std::span<float>)>& process) {
  Values logits{3, 2, 1, 0};
  process(logits);
  return softmax(logits);
}

MATCHER(NearlyEqual, "") { return std::abs(std::get<0>(arg) - std::get<1>(arg)) < 1e-5; }
auto near(Values expected) { return Pointwise(NearlyEqual(), std::move(expected)); }

TEST(Sampling, TemperatureDivides) {
  EXPECT_THAT(processed([](auto logits) { apply_temperature(logits, 0.5); }),
              near({.86495F, .11706F, .01584F, .00214F}));
  EXPECT_THAT(processed([](auto logits) { apply_temperature(logits, 1.0); }),
              near({.64391F, .23688F, .08714F, .03206F}));
}

TEST(Sampling, TopPKeepsTheSmallestSufficientSet) {
  EXPECT_THAT(processed([](auto logits) { keep_top_p(logits, 0.9); }),
              near({.66524F, .24473F, .09003F, 0}));
  EXPECT_THAT(processed([](auto logits) { keep_top_p(logits, 0.6); }), near({1, 0, 0, 0}));
  EXPECT_THAT(processed([](auto logits) { keep_top_p(logits, 1e-6); }), near({1, 0, 0, 0}));
  EXPECT_THAT(processed([](auto logits) { keep_top_p(logits, 1.0); }),
              near({.64391F, .23688F, .08714F, .03206F}));
}

TEST(Sampling, TopPDoesNotDependOnTheOrderOfTokens) {
  Values logits{0, 2, 3, 1};
  keep_top_p(logits, 0.9);
  EXPECT_THAT(softmax(logits), near({0, .24473F, .66524F, .09003F}));
}

TEST(Sampling, TopKKeepsTheLikeliest) {
  EXPECT_THAT(processed([](auto logits) { keep_top_k(logits, 2); }),
              near({.73106F, .26894F, 0, 0}));
}

TEST(Sampling, TopKKeepsTies) {
  Values logits{3, 2, 2, 0};
  keep_top_k(logits, 2);
  EXPECT_THAT(logits, ElementsAre(3, 2, 2, -std::numeric_limits<float>::infinity()));
}

TEST(Sampling, TopKOfNoneOrAllChangesNothing) {
  for (const std::int64_t k : {0, 4, 50}) {
    EXPECT_THAT(processed([&](auto logits) { keep_top_k(logits, k); }),
                near({.64391F, .23688F, .08714F, .03206F}));
  }
}

TEST(Sampling, TemperatureComesBeforeTopP) {
  EXPECT_THAT(processed([](auto logits) {
                apply_temperature(logits, 0.5);
                keep_top_p(logits, 0.9);
              }),
              near({.88080F, .11920F, 0, 0}));
}

TEST(Sampling, TopPSeesWhatTopKLeft) {
  // Among the two that are left the first has .73: alone it suffices for .7, not for .75.
  const auto both = [](double p) {
    return processed([=](auto logits) {
      keep_top_k(logits, 2);
      keep_top_p(logits, p);
    });
  };
  EXPECT_THAT(both(0.7), near({1, 0, 0, 0}));
  EXPECT_THAT(both(0.75), near({.73106F, .26894F, 0, 0}));
}

TEST(Sampling, PickFindsTheTokenThatTheNumberFallsInto) {
  const Values probabilities{.5F, .25F, 0, .25F};
  const std::vector<std::pair<double, std::int64_t>> expected{
      {0.0, 0}, {.4999, 0}, {.5, 1}, {.7499, 1}, {.75, 3}, {.9999, 3}};
  for (const auto& [uniform, token] : expected) EXPECT_EQ(pick(probabilities, uniform), token);
}

TEST(Sampling, PickNeverTakesTheImpossible) {
  EXPECT_EQ(pick(Values{0, 0, 1}, 0.0), 2);
  // Sums fall short of one by rounding: the rest belongs to the last token that is possible.
  EXPECT_EQ(pick(Values{.3F, .6999F, 0}, 1.0 - 1e-12), 1);
}

/// A vocabulary's worth, with equals: by the definitions, in the plainest way.
TEST(Sampling, ManyTokensAreProcessedAsTheDefinitionsSay) {
  std::mt19937_64 random{1};
  std::normal_distribution<float> normal;
  for (int round = 0; round < 20; ++round) {
    Values logits(3000 + 7 * static_cast<std::size_t>(round));
    for (auto& logit : logits) logit = std::round(normal(random) * 400.0F) / 50.0F;
    EXPECT_EQ(pick_greedy(logits), std::ranges::max_element(logits) - logits.begin());

    auto kept = logits, sorted = logits;
    keep_top_k(kept, 40);
    std::ranges::sort(sorted, std::greater<>{});
    for (std::size_t i = 0; i < logits.size(); ++i) {
      ASSERT_EQ(kept[i], logits[i] >= sorted[39] ? logits[i] : kExcluded) << i;
    }

    auto likeliest = kept;
    keep_top_p(likeliest, 0.6);
    const auto before = softmax(kept), after = softmax(likeliest);
    double mass = 0.0;
    float least = 1.0F;
    for (std::size_t i = 0; i < before.size(); ++i) {
      if (likeliest[i] == kExcluded) continue;
      mass += static_cast<double>(before[i]);
      least = std::min(least, before[i]);
    }
    EXPECT_GE(mass, 0.6 - 1e-6);
    EXPECT_LT(mass - static_cast<double>(least), 0.6 + 1e-6) << "the last one was needed";

    const double uniform = std::uniform_real_distribution<>{}(random);
    std::size_t token = 0;
    for (double sum = static_cast<double>(after[0]); sum <= uniform;) sum += static_cast<double>(after[++token]);
    EXPECT_EQ(pick(after, uniform), static_cast<std::int64_t>(token));
  }
}

TEST(Sampling, GreedyTakesTheFirstOfEquals) {
  EXPECT_EQ(pick_greedy(Values{1, 3, 3, 2}), 1);
  EXPECT_EQ(pick_greedy(Values{kExcluded, kExcluded}), 0);
  EXPECT_EQ(pick_greedy(Values{NAN, NAN}), 0);
}

}  // namespace
}  // namespace hone

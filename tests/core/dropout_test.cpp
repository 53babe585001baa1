// Dropout: which elements go depends on (seed, update, sample, site) alone.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "hone/core/error.hpp"
#include "hone/core/model/dropout.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/trainer_checks.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

TEST(Dropout, DropsTheShareItIsToldAndKeepsTheMean) {
  const Dropout dropout{7, 0, {0}, {1000}};
  for (const double probability : {0.1, 0.5}) {
    const auto y = dropout(at::ones({1000, 100}), probability, 0);
    const double zeros = y.eq(0).sum().item<double>() / 1e5;
    EXPECT_NEAR(zeros, probability, 0.005);  // five standard deviations
    EXPECT_NEAR(y.max().item<double>(), 1.0 / (1.0 - probability), 1e-6);
    EXPECT_NEAR(y.mean().item<double>(), 1.0, 0.01);
  }
}

TEST(Dropout, DoesNotDependOnWhatLiesBesides) {
  const auto x = at::arange(1, 41, at::kFloat).view({10, 4});  // samples 3 and 8 of 6 and 4 tokens
  const auto together = Dropout{1, 2, {3, 8}, {6, 4}}(x, 0.3, 5);
  const auto swapped = Dropout{1, 2, {8, 3}, {4, 6}}(x.roll({4}, {0}), 0.3, 5);
  const auto alone = Dropout{1, 2, {8}, {4}}(x.narrow(0, 6, 4), 0.3, 5);
  EXPECT_TRUE(together.narrow(0, 6, 4).equal(alone));
  EXPECT_TRUE(swapped.narrow(0, 0, 4).equal(alone));
  EXPECT_TRUE(swapped.narrow(0, 4, 6).equal(together.narrow(0, 0, 6)));
}

TEST(Dropout, EveryPartOfTheKeyChangesTheMask) {
  const auto x = at::ones({64, 8});
  const auto mask = [&](std::uint64_t seed, std::uint64_t update, std::int64_t sample,
                        std::int64_t site) { return Dropout{seed, update, {sample}, {64}}(x, 0.5, site); };
  const auto base = mask(1, 2, 3, 4);
  EXPECT_TRUE(base.equal(mask(1, 2, 3, 4)));
  for (const auto& other : {mask(9, 2, 3, 4), mask(1, 9, 3, 4), mask(1, 2, 9, 4), mask(1, 2, 3, 9)}) {
    EXPECT_NEAR(base.eq(other).sum().item<double>() / 512, 0.5, 0.12);
  }
}

TEST(Dropout, TheGradientGoesWhereTheValueWent) {
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const auto x = at::ones({30, 5}, type).requires_grad_(true);
    const auto y = Dropout{1, 2, {0, 1}, {10, 20}}(x, 0.25, 0);
    y.sum().backward();
    EXPECT_TRUE(x.grad().equal(y.detach()));
  }
}

class DropoutInTraining : public ::testing::TestWithParam<const char*> {
 protected:
  StepStats step(std::int64_t seed, bool recompute = false) {
    TrainerHarness harness{model_.folder(), comm_,
                           {.gradient_checkpointing = recompute, .learning_rate = 0.0, .seed = seed}};
    return harness->step({.input_ids = fixture_sequences(), .labels = fixture_sequences()});
  }
  FixtureModel model_{config_named(GetParam()), Fill::Random, 3};
  distributed::LoopbackCommunicator comm_;
};

TEST_P(DropoutInTraining, IsRepeatedBySeedAndChangedByAnother) {
  EXPECT_EQ(step(1).loss, step(1).loss);
  EXPECT_NE(step(1).loss, step(2).loss);
}

TEST_P(DropoutInTraining, IsTheSameWhereBlocksAreComputedAgain) {
  const auto plain = step(1), again = step(1, /*recompute=*/true);
  EXPECT_EQ(again.loss, plain.loss);
  // Of a T5 the decoder's layers add to the encoder's gradient in another order.
  EXPECT_NEAR(again.grad_norm / plain.grad_norm, 1.0, 1e-6);
}

TEST_P(DropoutInTraining, Row32_EvaluationHasNoneAndTrainingGoesOnWithIt) {
  const Batch batch{.input_ids = fixture_sequences(), .labels = fixture_sequences()};
  TrainerHarness harness{model_.folder(), comm_,
                         {.learning_rate = 0.0, .eval_strategy = "steps", .eval_steps = 1},
                         {.eval_sets = {{"", batch}}}};
  const auto plain = config_named(std::string{GetParam()}.substr(0, std::string{GetParam()}.find('_')));
  const FixtureModel without{plain, Fill::Random, 3};
  TrainerHarness reference{without.folder(), comm_, {.learning_rate = 0.0}};
  const double expected = reference->evaluate(batch).loss;
  // Each update draws anew; without dropout a rate of zero would give one loss throughout.
  std::vector<double> losses;
  for (int call = 0; call < 3; ++call) {
    const auto stats = harness->step(batch);
    EXPECT_EQ(stats.eval.at(0).second, expected);
    losses.push_back(stats.loss);
  }
  EXPECT_NE(losses[0], losses[1]);
  EXPECT_NE(losses[1], losses[2]);
  EXPECT_NEAR(losses[0], expected, 1.0);
}

INSTANTIATE_TEST_SUITE_P(Models, DropoutInTraining, ::testing::Values("gpt2_dropout", "t5_dropout"),
                         [](const auto& info) { return std::string{info.param}; });

TEST(DropoutConfig, IsRefusedOutsideItsRange) {
  auto config = gpt2_config();
  config["resid_pdrop"] = 1.0;
  EXPECT_THROW(FixtureModel{config}, InputError);
}

}  // namespace
}  // namespace hone::testing

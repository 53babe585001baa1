// Training in bfloat16: rounded copies compute, float32 masters are trained.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "hone/distributed/loopback_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/rank_threads.hpp"
#include "support/split_training.hpp"
#include "support/trainer_checks.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

/// The stated error of bfloat16 (docs/trainer.md), relative: its numbers have 8 bits. transformers'
/// own bfloat16 is off float32 by as much.
constexpr double kLossError = 3e-3;
double gradient_error(const std::string& model) {
  return model == "t5" ? 0.1 : 0.05;  // T5 does not scale its scores, so that their rounding weighs more
}

class BFloat16 : public ::testing::TestWithParam<const char*> {
 protected:
  Batch batch() const {
    return {.input_ids = ragged_sequences(6, 40, 11), .labels = ragged_sequences(6, 40, 11)};
  }
  FixtureModel model_{config_named(GetParam()), Fill::Random, 3};
  distributed::LoopbackCommunicator comm_;
};

TEST_P(BFloat16, IsAsNearToFloat32AsStated) {
  const TrainerOptions options{.updates_per_step = "one", .learning_rate = 0.0, .max_grad_norm = 0.0};
  TrainerHarness exact{model_.folder(), comm_, options};
  TrainerHarness rounded{model_.folder(), comm_, options, {.dtype = at::kBFloat16}};
  const auto expected = exact->step(batch()), got = rounded->step(batch());
  EXPECT_NEAR(got.loss / expected.loss, 1.0, kLossError);
  EXPECT_NE(got.loss, expected.loss);
  EXPECT_NEAR(got.grad_norm / expected.grad_norm, 1.0, gradient_error(GetParam()));
  const auto want = exact.model().parameters().all(), have = rounded.model().parameters().all();
  for (std::size_t i = 0; i < want.size(); ++i) {
    const auto &gradient = have[i].value.grad(), &reference = want[i].value.grad();
    EXPECT_EQ(gradient.scalar_type(), at::kFloat);
    // Of a tensor that hardly has a gradient (GPT-2's key bias), rounding is all there is.
    if (reference.norm().item<double>() < 1e-2 * expected.grad_norm) continue;
    EXPECT_LT(relative_distance(gradient, reference), gradient_error(GetParam())) << want[i].name;
  }
}

TEST_P(BFloat16, RanksComputeWhatOneDoesWithinItsError) {
  const auto step_on = [&](int num_ranks) {
    return on_ranks(num_ranks, [&](Communicator& comm) {
      TrainerHarness harness{model_.folder(), comm, {.updates_per_step = "one"},
                             {.dtype = at::kBFloat16}};
      return harness->step(batch());
    })[0];
  };
  const auto alone = step_on(1), shared = step_on(3);
  EXPECT_NEAR(shared.loss / alone.loss, 1.0, kLossError);
  EXPECT_NEAR(shared.grad_norm / alone.grad_norm, 1.0, gradient_error(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Models, BFloat16, ::testing::Values("llama", "gpt2", "t5"),
                         [](const auto& info) { return std::string{info.param}; });

TEST(BFloat16Masters, KeepWhatTheFileHas) {
  const FixtureModel model{llama_config(), Fill::Random, 3};
  const auto exact = load_model(model.folder());
  const auto rounded = load_model(model.folder(), {.dtype = at::kBFloat16, .with_masters = true});
  for (std::size_t i = 0; i < exact->parameters().all().size(); ++i) {
    const auto value = exact->parameters().all()[i].value;
    EXPECT_TRUE(rounded->parameters().trained(i).equal(value));
    EXPECT_TRUE(rounded->parameters().all()[i].value.equal(value.to(at::kBFloat16)));
  }
}

/// 400 moves of a millionth: in bfloat16 alone each would be rounded away.
TEST(BFloat16Masters, AddUpWhatIsTooSmallForTheCopies) {
  const FixtureModel model{llama_config(), Fill::Random, 3};
  distributed::LoopbackCommunicator comm;
  TrainerHarness harness{model.folder(), comm, {.learning_rate = 1e-5, .lr_scheduler_type = "constant"},
                         {.dtype = at::kBFloat16}};
  const auto before = weights_of(harness.model());
  for (int call = 0; call < 400; ++call) harness->step({.input_ids = {{1, 5, 9, 13}}});
  const auto groups = harness.model().parameters().groups();
  EXPECT_FALSE(same_weights(before, weights_of(harness.model())));
  for (const auto& group : groups) {
    EXPECT_TRUE(group.values.equal(group.masters.to(at::kBFloat16)));
  }
}

}  // namespace
}  // namespace hone::testing

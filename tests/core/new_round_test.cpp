// What carries over from one round, a step() call, to the next.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hone/checkpoints/hdf5_checkpoint_store.hpp"
#include "hone/core/error.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/trainer_checks.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class NewRound : public ::testing::Test {
 protected:
  static TrainerOptions options(const std::string& on_new_round, double warmup_steps = 0) {
    return {.global_train_batch_size = 2,
            .learning_rate = 1e-2,
            .lr_scheduler_type = "constant_with_warmup",
            .warmup_steps = warmup_steps,
            .on_new_round = on_new_round};
  }
  static Batch round(int number) {
    return {.input_ids = ragged_sequences(6, 20, static_cast<std::uint64_t>(number))};
  }

  FixtureModel model_{llama_config(), Fill::Random, 5};
  distributed::LoopbackCommunicator comm_;
  TempDir folder_;
  NullLogger log_;
};

TEST_F(NewRound, ResetOptimizerBeginsWithOneThatHasSeenNothing) {
  auto resetting = options("reset_optimizer"), keeping = options("keep");
  resetting.shuffle_dataset = keeping.shuffle_dataset = false;
  TrainerHarness resets{model_.folder(), comm_, resetting}, keeps{model_.folder(), comm_, keeping};
  resets->step(round(0));
  keeps->step(round(0));
  EXPECT_TRUE(same_weights(weights_of(resets.model()), weights_of(keeps.model())))
      << "the first round has nothing to forget";
  resets->save_model(folder_.path() / "after");
  TrainerHarness fresh{folder_.path() / "after", comm_, keeping};
  for (auto* trainer : {&resets, &keeps, &fresh}) (*trainer)->step(round(1));
  EXPECT_TRUE(same_weights(weights_of(resets.model()), weights_of(fresh.model())));
  EXPECT_FALSE(same_weights(weights_of(resets.model()), weights_of(keeps.model())));
}

TEST_F(NewRound, RewarmGoesUpAgainInEachRound) {
  TrainerHarness harness{model_.folder(), comm_, options("rewarm", 3)};
  const auto rates = [&](int number) {
    std::vector<double> used;
    for (const auto& update : harness->step(round(number)).history) used.push_back(update.learning_rate);
    return used;
  };
  EXPECT_THAT(rates(0), ElementsAre(0.0, DoubleEq(1e-2 / 3), DoubleEq(2e-2 / 3)));  // the schedule's own
  EXPECT_THAT(rates(1), ElementsAre(DoubleEq(2.5e-3), DoubleEq(5e-3), DoubleEq(7.5e-3)));
  EXPECT_THAT(rates(2), ElementsAre(DoubleEq(2.5e-3), DoubleEq(5e-3), DoubleEq(7.5e-3)));
}

TEST_F(NewRound, IsKeptInTheMiddleOfARoundAcrossARestart) {
  for (const std::string mode : {"reset_optimizer", "rewarm"}) {
    TrainerHarness undisturbed{model_.folder(), comm_, options(mode, 3)};
    for (int number = 0; number < 3; ++number) undisturbed->step(round(number));
    const auto run = folder_.path() / mode;
    {
      checkpoints::Hdf5CheckpointStore store{comm_, log_, {.run_directory = run}};
      auto saving = options(mode, 3);
      saving.save_steps = 5;  // after the second update of the second round
      TrainerHarness first{model_.folder(), comm_, saving, {.checkpoints = &store}};
      first->step(round(0));
      first->step(round(1));
    }
    checkpoints::Hdf5CheckpointStore store{comm_, log_, {.run_directory = run}};
    TrainerHarness second{model_.folder(), comm_, options(mode, 3), {.checkpoints = &store}};
    ASSERT_TRUE(second->resume());
    second->step(round(1));
    second->step(round(2));
    EXPECT_TRUE(same_weights(weights_of(second.model()), weights_of(undisturbed.model()))) << mode;
    TrainerHarness other{model_.folder(), comm_, options("keep"), {.checkpoints = &store}};
    try {
      other->resume();
      ADD_FAILURE() << "resumed with another on_new_round";
    } catch (const ConfigError& error) {
      EXPECT_THAT(error.what(), HasSubstr("on_new_round " + mode));
    }
  }
}

TEST_F(NewRound, RefusesWhatMakesNoSense) {
  EXPECT_THROW((TrainerHarness{model_.folder(), comm_, options("sometimes")}), ConfigError);
  EXPECT_THROW((TrainerHarness{model_.folder(), comm_, options("rewarm", 0)}), ConfigError);
}

}  // namespace
}  // namespace hone::testing

// Training that was interrupted ends as training that was not: bit for bit on as many ranks.
#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hone/checkpoints/hdf5_checkpoint_store.hpp"
#include "hone/core/error.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/rank_threads.hpp"
#include "support/split_training.hpp"
#include "support/trainer_checks.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const FixtureModel& model() {
  static const FixtureModel fixture{llama_config(), Fill::Random, /*seed=*/5};
  return fixture;
}

TrainerOptions options() {
  return {.global_train_batch_size = 4,
          .learning_rate = 1e-2,
          .lr_scheduler_type = "linear",
          .max_steps = 6,
          .weight_decay = 0.1};
}

/// The samples of one call; every call has others.
Batch samples(int call) {
  return {.input_ids = ragged_sequences(12, 30, static_cast<std::uint64_t>(call))};
}

using MakeOptimizer = std::function<std::unique_ptr<Optimizer>(ParameterStore&)>;

/// A user's own: goes by the sign of a running mean of the gradients, which is its state.
class SignDescent final : public Optimizer {
 public:
  explicit SignDescent(ParameterStore& parameters) : parameters_(parameters) {
    for (const auto& group : parameters.groups()) mean_.push_back(at::zeros_like(group.trained()));
  }
  void step(double learning_rate) override {
    for (std::size_t i = 0; i < mean_.size(); ++i) {
      auto& group = parameters_.groups()[i];
      mean_[i].mul_(0.5).add_(group.gradients);
      group.trained().detach().sub_(mean_[i].sign(), learning_rate);
    }
    ++num_steps_;
  }
  std::int64_t num_steps() const override { return num_steps_; }
  void set_num_steps(std::int64_t steps) override { num_steps_ = steps; }
  std::vector<ParameterSlice> slices() const override { return parameters_.whole(); }
  std::vector<State> state() override { return {{"mean_gradient", mean_}}; }

 private:
  ParameterStore& parameters_;
  std::vector<at::Tensor> mean_;
  std::int64_t num_steps_ = 0;
};

std::unique_ptr<Optimizer> sign_descent(ParameterStore& parameters) {
  return std::make_unique<SignDescent>(parameters);
}

/// A trainer with a checkpoint store in a folder that outlives both.
struct TrainingRun {
  TrainingRun(const std::filesystem::path& folder, Communicator& comm,
              TrainerOptions trainer_options, StopSignal* stop_signal = nullptr,
              MakeOptimizer optimizer = nullptr)
      : store{comm, log, {.run_directory = folder}},
        trainer{model().folder(), comm, std::move(trainer_options),
                {.checkpoints = &store,
                 .stop_signal = stop_signal,
                 .optimizer = std::move(optimizer)}} {}

  NullLogger log;
  checkpoints::Hdf5CheckpointStore store;
  TrainerHarness trainer;
};

std::vector<at::Tensor> undisturbed(Communicator& comm) {
  TrainerHarness trainer{model().folder(), comm, options()};
  trainer->step(samples(0));
  trainer->step(samples(1));
  return weights_of(trainer.model());
}

class Resume : public ::testing::TestWithParam<int> {
 protected:
  TempDir folder_;
};

TEST(Saving, IsNotDoneOfReplicasThatDiverged) {
  const TempDir folder;
  on_ranks(2, [&](Communicator& comm) {
    auto saving = options();
    saving.save_steps = saving.replica_check_steps = 3;
    TrainingRun run{folder.path(), comm, saving};
    run.trainer->step(samples(0));
    if (comm.rank() == 1) run.trainer.model().parameters().at("model.norm.weight").detach().mul_(2);
    EXPECT_THROW(run.trainer->step(samples(1)), DivergedError);
    return 0;
  });
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "checkpoint-3"));
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "checkpoint-6"));
}

TEST_P(Resume, BetweenCallsChangesNothing) {
  on_ranks(GetParam(), [&](Communicator& comm) {
    const auto expected = undisturbed(comm);
    {
      TrainingRun first{folder_.path(), comm, options()};
      first.trainer->step(samples(0));
      first.trainer->set_user_state("call 1 is next");
      first.trainer->save();
    }
    TrainingRun second{folder_.path(), comm, options()};
    EXPECT_TRUE(second.trainer->resume());
    EXPECT_EQ(second.trainer->state().global_step, 3);
    EXPECT_EQ(second.trainer->state().call, 1);
    EXPECT_EQ(second.trainer->state().samples_seen, 12);
    EXPECT_EQ(second.trainer->state().user, "call 1 is next");
    const auto stats = second.trainer->step(samples(1));
    EXPECT_EQ(stats.updates, 3);
    EXPECT_EQ(stats.step, 6);
    EXPECT_TRUE(same_weights(weights_of(second.trainer.model()), expected));
    return 0;
  });
}

TEST_P(Resume, InTheMiddleOfACallGoesOnBehindItsAppliedUpdates) {
  for (const int stopped_after : {1, 2, 3}) {
    const TempDir folder;
    on_ranks(GetParam(), [&](Communicator& comm) {
      const auto expected = undisturbed(comm);
      {
        StopAtRead signal{comm.rank() == comm.size() - 1 ? stopped_after : 0,
                          StopRequest::SaveAndStop};
        TrainingRun first{folder.path(), comm, options(), &signal};
        EXPECT_EQ(first.trainer->step(samples(0)).updates, stopped_after);
        EXPECT_TRUE(first.trainer->stopped());
      }
      TrainingRun second{folder.path(), comm, options()};
      EXPECT_TRUE(second.trainer->resume());
      EXPECT_EQ(second.trainer->state().call, stopped_after == 3 ? 1 : 0);
      // The interrupted call is made again with the same samples.
      if (stopped_after < 3) {
        EXPECT_EQ(second.trainer->step(samples(0)).updates, 3 - stopped_after);
      }
      EXPECT_EQ(second.trainer->state().call, 1);
      second.trainer->step(samples(1));
      EXPECT_TRUE(same_weights(weights_of(second.trainer.model()), expected));
      return 0;
    });
  }
}

TEST_P(Resume, InTheMiddleOfACallWhoseSamplesRanksHold) {
  for (const auto scope : {BatchScope::PerRank, BatchScope::Root}) {
    const TempDir folder;
    on_ranks(GetParam(), [&](Communicator& comm) {
      const auto mine = part_of_rank(comm, {.scope = scope}, samples(0));
      TrainerHarness undisturbed{model().folder(), comm, options()};
      undisturbed->step(mine);
      {
        StopAtRead signal{comm.rank() == 0 ? 1 : 0, StopRequest::SaveAndStop};
        TrainingRun first{folder.path(), comm, options(), &signal};
        EXPECT_EQ(first.trainer->step(mine).updates, 1);
      }
      TrainingRun second{folder.path(), comm, options()};
      EXPECT_TRUE(second.trainer->resume());
      EXPECT_EQ(second.trainer->step(mine).updates, 2);
      EXPECT_TRUE(same_weights(weights_of(second.trainer.model()), weights_of(undisturbed.model())));
      return 0;
    });
  }
}

TEST_P(Resume, AnInterruptedCallGoesOnWithItsOwnSamplesOnly) {
  on_ranks(GetParam(), [&](Communicator& comm) {
    const auto expected = undisturbed(comm);
    {
      StopAtRead signal{1, StopRequest::SaveAndStop};
      TrainingRun first{folder_.path(), comm, options(), &signal};
      first.trainer->step(samples(0));
    }
    TrainingRun second{folder_.path(), comm, options()};
    second.trainer->resume();
    auto turned = samples(0);
    std::swap(turned.input_ids.front(), turned.input_ids.back());
    for (const auto& other : {samples(1), turned}) {
      EXPECT_THAT([&] { second.trainer->step(other); },
                  ::testing::ThrowsMessage<InputError>(HasSubstr("was given other samples")));
    }
    second.trainer->step(samples(0));
    second.trainer->step(samples(1));
    EXPECT_TRUE(same_weights(weights_of(second.trainer.model()), expected));
    return 0;
  });
}

TEST_P(Resume, Row34_SavesAsOftenAsAskedAndFromAnyOfThese) {
  on_ranks(GetParam(), [&](Communicator& comm) {
    const auto expected = undisturbed(comm);
    auto saving = options();
    saving.save_steps = 1;
    TrainingRun every{folder_.path() / "every", comm, saving};
    every.trainer->step(samples(0));
    every.trainer->settle_save();
    for (const int step : {1, 2, 3}) {
      EXPECT_TRUE(std::filesystem::exists(folder_.path() / "every" /
                                          ("checkpoint-" + std::to_string(step))));
    }
    saving.save_steps = 2;
    {
      TrainingRun first{folder_.path(), comm, saving};
      first.trainer->step(samples(0));
      first.trainer->step(samples(1));
    }
    for (const int step : {6, 4, 2}) {  // each moves what is newer aside
      const auto checkpoint = folder_.path() / ("checkpoint-" + std::to_string(step));
      EXPECT_TRUE(std::filesystem::exists(checkpoint / "config.json")) << step;
      TrainingRun again{folder_.path(), comm, options()};
      EXPECT_TRUE(again.trainer->resume(checkpoint));
      EXPECT_EQ(again.trainer->state().global_step, step);
      for (int call = step / 3; call < 2; ++call) again.trainer->step(samples(call));
      EXPECT_TRUE(same_weights(weights_of(again.trainer.model()), expected)) << step;
    }
    return 0;
  });
}

TEST_P(Resume, SaveAndContinueSavesAndGoesOn) {
  on_ranks(GetParam(), [&](Communicator& comm) {
    StopAtRead signal{comm.rank() == 0 ? 2 : 0, StopRequest::SaveAndContinue};
    TrainingRun run{folder_.path(), comm, options(), &signal};
    const auto stats = run.trainer->step(samples(0));
    EXPECT_EQ(stats.updates, 3);
    EXPECT_FALSE(stats.stopped);
    run.trainer->settle_save();
    EXPECT_TRUE(std::filesystem::exists(folder_.path() / "checkpoint-2"));
    return 0;
  });
}

/// Asks for a stop when a checkpoint is there; notes what it was told.
struct StopWhenSaved final : TrainerCallback {
  void on_save(const TrainerState& state, const std::filesystem::path& checkpoint) override {
    EXPECT_EQ(checkpoint.filename(), "checkpoint-" + std::to_string(state.global_step));
    EXPECT_TRUE(std::filesystem::exists(checkpoint / "manifest.json"));
    if (trainer != nullptr) trainer->request_stop();
    steps.push_back(state.global_step);
  }
  Trainer* trainer = nullptr;
  std::vector<std::int64_t> steps;
};

TEST_P(Resume, ACallbackOfOneRankMayStopTheRunWhenItIsSaved) {
  on_ranks(GetParam(), [&](Communicator& comm) {
    auto saving = options();
    saving.save_steps = 1;
    saving.async_save = false;
    TrainingRun run{folder_.path(), comm, saving};
    StopWhenSaved stop;
    if (comm.rank() == comm.size() - 1) stop.trainer = run.trainer.operator->();
    run.trainer->add_callback(stop);
    EXPECT_EQ(run.trainer->step(samples(0)).updates, 1);
    EXPECT_TRUE(run.trainer->stopped());
    EXPECT_THAT(stop.steps, ElementsAre(1));
    return 0;
  });
}

TEST_P(Resume, AStopThatComesWithACheckpointWrittenBehindIsSavedToo) {
  on_ranks(GetParam(), [&](Communicator& comm) {
    auto saving = options();
    saving.save_steps = 1;
    TrainingRun run{folder_.path(), comm, saving};
    StopWhenSaved stop;
    if (comm.rank() == comm.size() - 1) stop.trainer = run.trainer.operator->();
    run.trainer->add_callback(stop);
    // The second save waits for the first, by which the stop comes, behind the second update.
    EXPECT_EQ(run.trainer->step(samples(0)).updates, 2);
    EXPECT_TRUE(run.trainer->stopped());
    EXPECT_THAT(stop.steps, ElementsAre(1, 2));
    return 0;
  });
}

TEST_P(Resume, WhatIsWrittenBehindIsTheStateOfItsUpdate) {
  on_ranks(GetParam(), [&](Communicator& comm) {
    const auto expected = undisturbed(comm);
    {
      TrainingRun first{folder_.path(), comm, options()};
      first.trainer->step(samples(0));
      first.trainer->save_behind();
      first.trainer->step(samples(1));  // the weights change while they are written
      first.trainer->settle_save();
    }
    TrainingRun second{folder_.path(), comm, options()};
    EXPECT_TRUE(second.trainer->resume());
    EXPECT_EQ(second.trainer->state().global_step, 3);
    second.trainer->step(samples(1));
    EXPECT_TRUE(same_weights(weights_of(second.trainer.model()), expected));
    return 0;
  });
}

TEST_P(Resume, ARunThatIsDoneHasItsCheckpoints) {
  on_ranks(GetParam(), [&](Communicator& comm) {
    auto saving = options();
    saving.save_steps = 3;
    TrainingRun run{folder_.path(), comm, saving};
    StopWhenSaved notes;
    run.trainer->add_callback(notes);
    run.trainer->step(samples(0));
    run.trainer->step(samples(1));
    EXPECT_TRUE(run.trainer->done());
    EXPECT_THAT(notes.steps, ElementsAre(3, 6));
    return 0;
  });
}

/// As `hone run` does when it goes on from a checkpoint between a round's last update and its end.
TEST_P(Resume, ASaveBehindIsHeardOfWhenMoreArePrepared) {
  on_ranks(GetParam(), [&](Communicator& comm) {
    TrainingRun run{folder_.path(), comm, options()};
    run.trainer->step(samples(0));
    run.trainer->save_behind();
    run.trainer->prepare_saves();
    run.trainer->save_behind();
    run.trainer->settle_save();
    return 0;
  });
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "checkpoint-3"));
}

TEST_P(Resume, NothingIsSavedOfAnUpdateThatFailedOnOneRank) {
  struct Failing final : Optimizer {
    explicit Failing(bool fails) : fails_(fails) {}
    void step(double) override {
      if (fails_) throw std::runtime_error{"no more memory"};
    }
    std::int64_t num_steps() const override { return 0; }
    void set_num_steps(std::int64_t) override {}
    std::vector<ParameterSlice> slices() const override { return {}; }
    std::vector<State> state() override { return {}; }
    bool fails_;
  };
  on_ranks(GetParam(), [&](Communicator& comm) {
    auto saving = options();
    saving.save_steps = 1;
    const bool fails = comm.rank() == comm.size() - 1;
    TrainingRun run{folder_.path(), comm, saving, nullptr,
                    [&](ParameterStore&) { return std::make_unique<Failing>(fails); }};
    EXPECT_THAT([&] { run.trainer->step(samples(0)); },
                ::testing::ThrowsMessage<Error>(HasSubstr("no more memory")));
    EXPECT_FALSE(std::filesystem::exists(folder_.path() / "checkpoint-1"));
    return 0;
  });
}

TEST_P(Resume, Row06_AnOptimizerOfOnesOwnTrainsAndIsSavedWithItsState) {
  on_ranks(GetParam(), [&](Communicator& comm) {
    TrainingRun whole{folder_.path() / "whole", comm, options(), nullptr, sign_descent};
    const auto before = weights_of(whole.trainer.model());
    const auto first = whole.trainer->step(samples(0));
    double moved = 0.0;
    for (const auto& update : first.history) moved += update.learning_rate;
    const auto after = weights_of(whole.trainer.model());
    for (std::size_t i = 0; i < after.size(); ++i) {
      EXPECT_LT((after[i] - before[i]).abs().max().item<double>(), moved + 1e-6);
    }
    EXPECT_FALSE(same_weights(after, before));
    whole.trainer->save();
    whole.trainer->step(samples(1));

    TrainingRun again{folder_.path() / "whole", comm, options(), nullptr, sign_descent};
    again.trainer->resume();
    again.trainer->step(samples(1));
    EXPECT_TRUE(same_weights(weights_of(again.trainer.model()), weights_of(whole.trainer.model())));

    TrainingRun other{folder_.path() / "whole", comm, options()};
    EXPECT_THROW(other.trainer->resume(), Error) << "AdamW has another state";
    return 0;
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, Resume, ::testing::Values(1, 2));

TEST(ResumeElsewhere, AnotherRankCountKeepsTheSizeOfUpdates) {
  const TempDir folder;
  auto unset = options();  // the size follows from the ranks of the first start
  unset.global_train_batch_size.reset();
  unset.per_device_train_batch_size = 2;
  const auto expected = on_ranks(2, [&](Communicator& comm) {
    TrainerHarness trainer{model().folder(), comm, unset};
    trainer->step(samples(0));
    trainer->step(samples(1));
    return weights_of(trainer.model());
  })[0];
  on_ranks(2, [&](Communicator& comm) {
    TrainingRun first{folder.path(), comm, unset};
    first.trainer->step(samples(0));
    first.trainer->save();
    return 0;
  });
  const auto got = on_ranks(3, [&](Communicator& comm) {
    TrainingRun second{folder.path(), comm, unset};
    second.trainer->resume();
    EXPECT_EQ(second.trainer->state().global_train_batch_size, 4);
    EXPECT_EQ(second.trainer->step(samples(1)).updates, 3);
    return weights_of(second.trainer.model());
  })[0];
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_LT(relative_distance(got[i], expected[i]), 1e-5);
  }
}

TEST(ResumeElsewhere, ACallOfManyRanksSamplesGoesOnAlone) {
  const TempDir folder;
  const auto all = samples(0);
  distributed::LoopbackCommunicator alone;
  TrainerHarness expected{model().folder(), alone, options()};
  expected->step(all);
  on_ranks(4, [&](Communicator& comm) {
    StopAtRead signal{comm.rank() == 3 ? 1 : 0, StopRequest::SaveAndStop};
    TrainingRun first{folder.path(), comm, options(), &signal};
    // Rank 3 has nothing.
    const Split split{.scope = BatchScope::PerRank};
    EXPECT_EQ(first.trainer->step(part_of_rank(comm, split, all)).updates, 1);
    return 0;
  });
  TrainingRun second{folder.path(), alone, options()};
  EXPECT_TRUE(second.trainer->resume());
  EXPECT_THAT([&] { second.trainer->step(samples(1)); },
              ::testing::ThrowsMessage<InputError>(HasSubstr("was given other samples")));
  EXPECT_EQ(second.trainer->step(all).updates, 2);
  const auto got = weights_of(second.trainer.model());
  const auto weights = weights_of(expected.model());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_LT(relative_distance(got[i], weights[i]), 1e-5);
  }
}

class ResumeAlone : public ::testing::Test {
 protected:
  void save_one() {
    TrainingRun run{folder_.path(), comm_, options()};
    run.trainer->step(samples(0));
    run.trainer->save();
  }

  distributed::LoopbackCommunicator comm_;
  TempDir folder_;
};

TEST_F(ResumeAlone, WithoutCheckpointsNothingChanges) {
  TrainingRun run{folder_.path(), comm_, options()};
  const auto before = weights_of(run.trainer.model());
  EXPECT_FALSE(run.trainer->resume());
  EXPECT_EQ(run.trainer->state().global_step, 0);
  EXPECT_TRUE(same_weights(weights_of(run.trainer.model()), before));
}

TEST_F(ResumeAlone, OtherOrderOfSamplesIsRefused) {
  save_one();
  auto other_seed = options();
  other_seed.seed = 43;
  TrainingRun seeded{folder_.path(), comm_, other_seed};
  EXPECT_THROW(seeded.trainer->resume(), ConfigError);
  auto other_size = options();
  other_size.global_train_batch_size = 6;
  TrainingRun sized{folder_.path(), comm_, other_size};
  const auto before = weights_of(sized.trainer.model());
  try {
    sized.trainer->resume();
    FAIL() << "resumed with another global_train_batch_size";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("global_train_batch_size 4, this run asks for 6"),
                                    HasSubstr("Go on with --global_train_batch_size 4")));
  }
  EXPECT_TRUE(same_weights(weights_of(sized.trainer.model()), before));
}

TEST_F(ResumeAlone, AnInterruptedCallKeepsItsUpdates) {
  {
    StopAtRead signal{1, StopRequest::SaveAndStop};
    TrainingRun run{folder_.path(), comm_, options(), &signal};
    run.trainer->step(samples(0));
  }
  auto unshuffled = options(), one = options();
  unshuffled.shuffle_dataset = false;
  one.updates_per_step = "one";
  for (const auto& [other, name] : {std::pair{unshuffled, "shuffle_dataset"}, {one, "updates_per_step"}}) {
    TrainingRun run{folder_.path(), comm_, other};
    EXPECT_THAT([&] { run.trainer->resume(); }, ::testing::ThrowsMessage<ConfigError>(HasSubstr(name)));
  }
  save_one();  // between two calls they are free
  TrainingRun run{folder_.path(), comm_, unshuffled};
  EXPECT_TRUE(run.trainer->resume());
}

TEST_F(ResumeAlone, Row31_ARunPastItsEndGoesOn) {
  auto holding = options();
  holding.max_steps = 2;
  holding.past_max_steps = "hold";
  TrainingRun first{folder_.path(), comm_, holding};
  EXPECT_EQ(first.trainer->step(samples(0)).updates, 3);
  first.trainer->save();
  TrainingRun again{folder_.path(), comm_, holding};
  EXPECT_TRUE(again.trainer->resume());
  EXPECT_EQ(again.trainer->step(samples(1)).updates, 3);
}

TEST_F(ResumeAlone, Row33_LogRecordsGoOnToo) {
  struct Losses final : TrainerCallback {
    void on_log(const TrainerState&, const LogRecord& record) override { seen.push_back(record.to_map()); }
    std::vector<std::vector<std::pair<std::string, double>>> seen;
  };
  auto logging = options();
  logging.logging_steps = 2;
  logging.updates_per_step = "one";
  Losses expected, got;
  TrainingRun whole{folder_.path() / "whole", comm_, logging};
  whole.trainer->add_callback(expected);
  for (int call = 0; call < 2; ++call) whole.trainer->step(samples(call));
  {
    TrainingRun first{folder_.path() / "halves", comm_, logging};
    first.trainer->step(samples(0));
    first.trainer->save();
  }
  TrainingRun second{folder_.path() / "halves", comm_, logging};
  second.trainer->resume();
  second.trainer->add_callback(got);
  second.trainer->step(samples(1));
  ASSERT_EQ(expected.seen.size(), 1U);
  EXPECT_EQ(expected.seen[0][0].first, "step");
  EXPECT_EQ(got.seen, expected.seen);
}

TEST_F(ResumeAlone, SamplesGoOnWithTheirNumbers) {
  const std::vector<PromptTokens> prompts{{{1, 5, 9}, 0}};
  const GenerationOptions sampling{.num_return_sequences = 8, .max_new_tokens = 8};
  std::vector<std::vector<std::int64_t>> expected;
  {
    TrainingRun run{folder_.path(), comm_, options()};
    run.trainer->generate(prompts, sampling);
    run.trainer->save();
    for (const auto& completion : run.trainer->generate(prompts, sampling)) {
      expected.push_back(completion.ids);
    }
  }
  TrainingRun again{folder_.path(), comm_, options()};
  again.trainer->resume();
  std::vector<std::vector<std::int64_t>> got;
  for (const auto& completion : again.trainer->generate(prompts, sampling)) {
    got.push_back(completion.ids);
  }
  EXPECT_EQ(got, expected);
}

TEST_F(ResumeAlone, NeedsAStore) {
  TrainerHarness harness{model().folder(), comm_, options()};
  EXPECT_THROW(harness->save(), ConfigError);
  EXPECT_THROW(harness->resume(), ConfigError);
}

}  // namespace
}  // namespace hone::testing

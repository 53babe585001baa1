// When checkpoints that nobody asked for are due.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "hone/core/error.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/rank_threads.hpp"
#include "support/split_training.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// What saves are like.
struct Disk {
  std::chrono::milliseconds each_takes{0};
  int to_fail = 0;
  bool is_quick = true;  ///< a save is over before the next update is
  ExitCode code = ExitCode::RunHeld;  ///< of what fails
  std::int64_t most_tensors = 1000;
};

/// Notes the steps of saves.
class Saves final : public CheckpointStore {
 public:
  explicit Saves(const Disk& disk) : disk_(disk) {}

  std::filesystem::path save(const CheckpointContent& content) override {
    start_save(content);
    return finish_save();
  }
  void require_room(std::span<const TensorBytes> tensors) override {
    if (std::ssize(tensors) > disk_.most_tensors) throw CheckpointError{"too many", ExitCode::Usage};
  }
  void prepare_saves(std::span<const TensorBytes> tensors) override { num_prepared_ = tensors.size(); }
  void start_save(const CheckpointContent& content) override {
    step_ = content.step;
    state_json_ = content.state_json;
    best_step_ = content.best_step;
    const auto end = std::chrono::steady_clock::now() + disk_.each_takes;
    while (std::chrono::steady_clock::now() < end) {
    }
  }
  bool save_is_settled() const override { return step_ >= 0 && disk_.is_quick; }
  std::filesystem::path finish_save() override {
    const auto step = std::exchange(step_, -1);
    if (disk_.to_fail-- > 0) throw CheckpointError{"the disk is full.", disk_.code};
    steps_.push_back(step);
    return {};
  }
  bool load_newest(const Load&) override { return false; }
  std::string load_state(const std::filesystem::path&) override { return {}; }
  void load_tensors(const std::filesystem::path&, std::span<const TensorBytes>) override {}
  void go_on_from(const std::filesystem::path&) override {}

  void fail(int times) { disk_.to_fail = times; }
  const std::vector<std::int64_t>& steps() const { return steps_; }
  std::optional<std::int64_t> best_step() const { return best_step_; }  ///< as the last save was told
  nlohmann::json state() const { return nlohmann::json::parse(state_json_); }  ///< of the last save

 private:
  Disk disk_;
  std::int64_t step_ = -1;  ///< of the save under way
  std::string state_json_;
  std::optional<std::int64_t> best_step_;
  std::size_t num_prepared_ = 0;
  std::vector<std::int64_t> steps_;
};

class SaveTimes : public ::testing::Test {
 protected:
  /// Five updates on two ranks; the steps that were saved, the same on both.
  std::vector<std::int64_t> saved(TrainerOptions options, const Disk& disk = {}) {
    options.updates_per_step = "one";
    const auto of_ranks = on_ranks(2, [&](Communicator& comm) {
      Saves mine{disk};
      TrainerHarness harness{model_.folder(), comm, options, {.checkpoints = &mine}};
      for (int update = 0; update < 5; ++update) harness->step(law_samples());
      harness->settle_save();
      return mine.steps();
    });
    EXPECT_EQ(of_ranks[0], of_ranks[1]);
    return of_ranks[0];
  }

  FixtureModel model_{config_named("llama"), Fill::Random, /*seed=*/3};
};

TEST_F(SaveTimes, ByUpdates) {
  EXPECT_THAT(saved({}), IsEmpty());
  EXPECT_THAT(saved({.save_steps = 2}), ElementsAre(2, 4));
}

TEST_F(SaveTimes, ByTheClock) {
  EXPECT_THAT(saved({.save_minutes = 1e-9}), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(saved({.save_minutes = 1e6}), IsEmpty());
}

TEST_F(SaveTimes, TheyWaitWhereTheyWouldTakeTooMuchOfTheTime) {
  const Disk slow{.each_takes = std::chrono::milliseconds{20}};
  EXPECT_THAT(saved({.save_steps = 1}, slow), SizeIs(5));
  EXPECT_THAT(saved({.save_steps = 1, .save_max_overhead = 1e-6}, slow), ElementsAre(1));
  EXPECT_THAT(saved({.save_minutes = 1e-9, .save_max_overhead = 1e-6}, slow), ElementsAre(1));
}

TEST_F(SaveTimes, TheyWaitForTheOneUnderWayWhereTimeIsLimited) {
  const Disk never{.is_quick = false};
  EXPECT_THAT(saved({.save_steps = 1}, never), SizeIs(5)) << "each waits for the one before it";
  EXPECT_THAT(saved({.save_steps = 1, .save_max_overhead = 0.9}, never), ElementsAre(1));
}

TEST_F(SaveTimes, TwoThatFailAreDoneWithoutTheThirdEndsTheRun) {
  for (const bool behind : {true, false}) {
    EXPECT_THAT(saved({.save_steps = 1, .async_save = behind}, {.to_fail = 2}), ElementsAre(3, 4, 5));
    on_ranks(2, [&](Communicator& comm) {
      Saves saves{{.to_fail = 3}};
      TrainerHarness harness{model_.folder(), comm,
                             {.updates_per_step = "one", .save_steps = 1, .async_save = behind},
                             {.checkpoints = &saves}};
      // What is written behind an update is heard of in the next.
      for (int update = 0; update < (behind ? 3 : 2); ++update) harness->step(law_samples());
      EXPECT_THROW(harness->step(law_samples()), CheckpointError);
      // One that somebody asks for by name is not done without.
      saves.fail(1);
      EXPECT_THROW(harness->save(), CheckpointError);
      return 0;
    });
  }
}

TEST_F(SaveTimes, ARunThatEndsTriesAgain) {
  for (const bool behind : {true, false}) {
    for (const int last : {4, 5}) {
      const TrainerOptions options{.max_steps = 5, .save_steps = last, .async_save = behind};
      EXPECT_THAT(saved(options, {.to_fail = 1, .is_quick = false}), ElementsAre(5));
      EXPECT_THROW(saved(options, {.to_fail = 2, .is_quick = false}), CheckpointError);
    }
  }
}

TEST_F(SaveTimes, ASaveAtTheEndIsTriedTwice) {
  distributed::LoopbackCommunicator comm;
  Saves saves{{.to_fail = 1}};
  TrainerHarness harness{model_.folder(), comm, {}, {.checkpoints = &saves}};
  harness->save_at_end();
  EXPECT_THAT(saves.steps(), ElementsAre(0));
  saves.fail(2);
  EXPECT_THROW(harness->save_at_end(), CheckpointError);
  saves.fail(2);
  for (int i = 0; i < 2; ++i) harness->save_behind(), harness->settle_save();
  saves.fail(1);
  harness->save_at_end();  // whatever failed before
  EXPECT_THAT(saves.steps(), ElementsAre(0, 0));
  Saves none{{.to_fail = 1, .code = ExitCode::Environment}};  // another job has taken over
  TrainerHarness other{model_.folder(), comm, {}, {.checkpoints = &none}};
  EXPECT_THROW(other->save_at_end(), CheckpointError);
}

TEST_F(SaveTimes, TheStoreIsToldWhichIsTheBest) {
  distributed::LoopbackCommunicator comm;
  Saves saves{{}};
  TrainerHarness harness{model_.folder(), comm, {.updates_per_step = "one"}, {.checkpoints = &saves}};
  const auto best_after = [&](double reward, bool greater_is_better = true) {
    harness->step(law_samples());
    harness->note_metric("reward", reward, greater_is_better);
    harness->save();
    return saves.best_step();
  };
  harness->save();
  EXPECT_EQ(saves.best_step(), std::nullopt);
  EXPECT_FALSE(harness->note_metric("reward", NAN, /*greater_is_better=*/true));
  harness->save();
  EXPECT_EQ(saves.best_step(), std::nullopt);
  // Before the save at hand, which stays anyway.
  EXPECT_EQ(best_after(0.5), 0);
  EXPECT_EQ(best_after(0.75), 1);
  EXPECT_EQ(best_after(0.75), 2);
  EXPECT_EQ(best_after(NAN), 2);
  harness->step(law_samples());
  harness->note_metric("reward", 1.0, /*greater_is_better=*/true);  // and not saved
  EXPECT_EQ(best_after(0.5), 2);
  EXPECT_EQ(best_after(2.0, /*greater_is_better=*/false), 2) << "another direction begins anew";
  EXPECT_EQ(best_after(0.5, /*greater_is_better=*/false), 7);
}

TEST_F(SaveTimes, OneMetricSaysWhatIsTheBest) {
  distributed::LoopbackCommunicator comm;
  TrainerHarness harness{model_.folder(), comm, {.metric_for_best_model = "eval_loss"},
                         {.eval_sets = {{.batch = law_samples()}}}};
  EXPECT_THROW(harness->note_metric("reward", 1.0, true), ConfigError);
}

TEST_F(SaveTimes, ACallWhoseLastSaveFailsKeepsItsPosition) {
  distributed::LoopbackCommunicator comm;
  Saves saves{{.to_fail = 2}};
  const TrainerOptions within_the_call{.per_device_train_batch_size = 1, .max_steps = 2, .save_steps = 2};
  TrainerHarness harness{model_.folder(), comm, within_the_call, {.checkpoints = &saves}};
  EXPECT_THROW(harness->step(law_samples()), CheckpointError);
  harness->save();
  EXPECT_THAT(saves.steps(), ElementsAre(2));
  EXPECT_EQ(saves.state().at("updates_in_call"), 2);
}

TEST_F(SaveTimes, WhatNoCheckpointHasRoomForIsRefusedBeforeTraining) {
  distributed::LoopbackCommunicator comm;
  Saves small{{.most_tensors = 3}};
  for (const bool behind : {true, false}) {
    const TrainerOptions saves{.save_steps = 1, .async_save = behind};
    EXPECT_THROW((TrainerHarness{model_.folder(), comm, saves, {.checkpoints = &small}}), CheckpointError);
  }
  TrainerHarness harness{model_.folder(), comm, {}, {.checkpoints = &small}};
  EXPECT_THROW(harness->prepare_saves(/*behind=*/false), CheckpointError);
}

TEST_F(SaveTimes, MemoryThatIsShortIsLikeADiskThatIsFullAndABugIsNot) {
  for (const auto code : {ExitCode::Io, ExitCode::OutOfMemory}) {
    EXPECT_THAT(saved({.save_steps = 1}, {.to_fail = 2, .code = code}), ElementsAre(3, 4, 5));
  }
  EXPECT_THROW(saved({.save_steps = 1}, {.to_fail = 1, .code = ExitCode::Internal}), CheckpointError);
}

}  // namespace
}  // namespace hone::testing

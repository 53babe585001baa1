// What step() promises besides the numbers: agreement of ranks, failures, counting, stopping.
#include <map>
#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "fakes/counting_communicator.hpp"
#include "hone/core/error.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/rank_threads.hpp"
#include "support/split_training.hpp"
#include "support/trainer_checks.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

const FixtureModel& model() {
  static const FixtureModel fixture{llama_config(), Fill::Random, /*seed=*/5};
  return fixture;
}

TrainerOptions options() {
  return {.per_device_train_batch_size = 2, .learning_rate = 1e-2, .weight_decay = 0.1};
}

/// Writes down whose prediction was judged, and what compute_metrics got.
struct MetricsLog {
  std::vector<std::vector<std::int64_t>> shapes;
  EvalPrediction got;
};

EvalHooks hooks_into(MetricsLog& log) {
  return {.preprocess_logits_for_metrics =
              [&log](const at::Tensor& logits, const at::Tensor& labels) {
                log.shapes.push_back(logits.sizes().vec());
                EXPECT_EQ(labels.sizes(), logits.sizes().slice(0, 2));
                return logits.argmax(-1);
              },
          .compute_metrics =
              [&log](const EvalPrediction& prediction) {
                log.got = prediction;
                return Metrics{{"acc", 0.5}, {"eval_words", 3.0}};
              }};
}

class StepRecorder final : public TrainerCallback {
 public:
  explicit StepRecorder(std::vector<std::int64_t>& steps) : steps_(steps) {}
  void on_step_end(const TrainerState&, const UpdateStats& update) override {
    steps_.push_back(update.step);
  }

 private:
  std::vector<std::int64_t>& steps_;
};

/// Writes down the first token of each sample, in the order of the micro-batches.
struct FirstTokens final : Collator {
  CollatedBatch collate(std::span<const TokenRow> rows) const override {
    for (const auto& row : rows) seen.push_back(row.ids[0]);
    return collators::PackingCollator{}.collate(rows);
  }
  mutable std::vector<std::int64_t> seen;
};

Batch samples(std::int64_t count) { return {.input_ids = ragged_sequences(count, 30, 21)}; }

/// What this rank has of samples in one order, as `holder_of` deals their places.
template <typename HolderOf>
Batch held_by(const Communicator& comm, const Batch& all, HolderOf&& holder_of) {
  Batch mine{.scope = BatchScope::PerRank};
  for (std::size_t i = 0; i < all.input_ids.size(); ++i) {
    if (holder_of(i) != comm.rank()) continue;
    mine.input_ids.push_back(all.input_ids[i]);
    if (!all.labels.empty()) mine.labels.push_back(all.labels[i]);
    mine.order.push_back(static_cast<std::int64_t>(i));
  }
  return mine;
}

TEST(Trainer, StatisticsAreEqualOnAllRanks) {
  const auto stats = on_ranks(3, [](Communicator& comm) {
    TrainerHarness harness{model().folder(), comm, options()};
    auto batch = samples(7);
    batch.scope = BatchScope::PerRank;
    if (comm.rank() == 1) batch.input_ids.clear();
    return harness->step(batch);
  });
  EXPECT_EQ(stats[0].num_samples, 14);
  EXPECT_EQ(stats[0].updates, 3);  // of 2 samples x 3 ranks
  EXPECT_GT(stats[0].tokens_per_second, 0.0);
  for (const auto& other : stats) {
    EXPECT_EQ(other.to_map(), stats[0].to_map());
    ASSERT_EQ(other.history.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(other.history[i].loss, stats[0].history[i].loss);
      EXPECT_EQ(other.history[i].grad_norm, stats[0].history[i].grad_norm);
    }
  }
}

TEST(Trainer, RanksEndWithTheSameWeights) {
  const auto weights = on_ranks(4, [](Communicator& comm) {
    TrainerHarness harness{model().folder(), comm, options()};
    harness->step(samples(9));
    return weights_of(harness.model());
  });
  for (const auto& other : weights) EXPECT_TRUE(same_weights(other, weights[0]));
}

TEST(Trainer, Row18_OneCallIsOnePassInUpdatesOfTheGlobalBatch) {
  const auto sizes_on = [](int ranks, TrainerOptions options) {
    return on_ranks(ranks, [&](Communicator& comm) {
      TrainerHarness harness{model().folder(), comm, options};
      std::vector<std::int64_t> sizes;
      for (const auto& update : harness->step(samples(10)).history) {
        sizes.push_back(update.num_samples);
      }
      return sizes;
    })[0];
  };
  EXPECT_THAT(sizes_on(1, options()), ElementsAre(2, 2, 2, 2, 2));
  EXPECT_THAT(sizes_on(2, options()), ElementsAre(4, 4, 2));
  auto accumulating = options();
  accumulating.gradient_accumulation_steps = 3;
  EXPECT_THAT(sizes_on(1, accumulating), ElementsAre(6, 4));
  accumulating.global_train_batch_size = 9;
  EXPECT_THAT(sizes_on(2, accumulating), ElementsAre(9, 1));
  auto one = options();
  one.updates_per_step = "one";
  EXPECT_THAT(sizes_on(1, one), ElementsAre(10));
  EXPECT_THAT(sizes_on(2, one), ElementsAre(10));
}

TEST(Trainer, EverySampleIsTrainedOncePerCall) {
  for (const int ranks : {1, 3}) {
    on_ranks(ranks, [&](Communicator& comm) {
      TrainerHarness harness{model().folder(), comm, options()};
      const auto batch = samples(11);
      std::int64_t tokens = 0;
      for (const auto& ids : batch.input_ids) tokens += static_cast<std::int64_t>(ids.size());
      const auto stats = harness->step(batch);
      EXPECT_EQ(stats.num_samples, 11);
      EXPECT_EQ(stats.input_tokens, tokens);
      EXPECT_EQ(stats.num_tokens, tokens - 11);  // the first of each is never a target
      return 0;
    });
  }
}

TEST(Trainer, Row06_UsesTheRateOfTheScheduleOnAnyNumberOfRanks) {
  for (const int ranks : {1, 2, 4}) {
    const auto rates = on_ranks(ranks, [](Communicator& comm) {
      auto scheduled = options();
      scheduled.global_train_batch_size = 2;
      scheduled.lr_scheduler_type = "linear";
      scheduled.warmup_steps = 2;
      scheduled.max_steps = 6;
      TrainerHarness harness{model().folder(), comm, scheduled};
      std::vector<double> rates;
      for (int call = 0; call < 2; ++call) {
        for (const auto& update : harness->step(samples(6)).history) {
          rates.push_back(update.learning_rate);
        }
      }
      return rates;
    });
    EXPECT_THAT(rates, Each(ElementsAre(0, .005, .01, .0075, .005, .0025))) << ranks << " ranks";
  }
}

TEST(Trainer, EndsAtMaxStepsInTheMiddleOfACall) {
  distributed::LoopbackCommunicator comm;
  auto ending = options();
  ending.max_steps = 3;
  TrainerHarness harness{model().folder(), comm, ending};
  EXPECT_EQ(harness->step(samples(4)).updates, 2);
  EXPECT_FALSE(harness->done());
  EXPECT_EQ(harness->step(samples(4)).updates, 1);
  EXPECT_TRUE(harness->done());
  const auto weights = weights_of(harness.model());
  EXPECT_EQ(harness->step(samples(4)).updates, 0);
  EXPECT_TRUE(same_weights(weights_of(harness.model()), weights));
}

TEST(Trainer, Row36_NothingToLearnIsSkipped) {
  for (const int ranks : {1, 2}) {
    on_ranks(ranks, [](Communicator& comm) {
      TrainerHarness harness{model().folder(), comm, options()};
      const auto before = weights_of(harness.model());
      auto batch = samples(2);
      for (const auto& ids : batch.input_ids) {
        batch.labels.emplace_back(ids.size(), kIgnoredLabel);
      }
      const auto stats = harness->step(batch);
      EXPECT_TRUE(same_weights(weights_of(harness.model()), before));
      EXPECT_EQ(stats.skipped, 1);
      EXPECT_EQ(stats.non_finite, 0);
      EXPECT_EQ(stats.updates, 0);
      EXPECT_EQ(stats.num_samples, 2);
      EXPECT_EQ(stats.loss, 0.0);
      EXPECT_EQ(harness->state().global_step, 0);
      EXPECT_EQ(harness->state().call, 1);
      return 0;
    });
  }
}

TEST(Trainer, ASkippedChunkLeavesTheOthersAsTheyAre) {
  distributed::LoopbackCommunicator comm;
  auto in_order = options();
  in_order.shuffle_dataset = false;
  auto batch = samples(6);
  batch.labels = batch.input_ids;
  for (const std::size_t i : {2, 3}) batch.labels[i].assign(batch.labels[i].size(), kIgnoredLabel);
  TrainerHarness with{model().folder(), comm, in_order};
  const auto stats = with->step(batch);
  EXPECT_EQ(stats.updates, 2);
  EXPECT_EQ(stats.skipped, 1);

  for (auto* lists : {&batch.input_ids, &batch.labels}) {
    lists->erase(lists->begin() + 2, lists->begin() + 4);
  }
  TrainerHarness without{model().folder(), comm, in_order};
  EXPECT_EQ(without->step(batch).loss, stats.loss);
  EXPECT_TRUE(same_weights(weights_of(with.model()), weights_of(without.model())));
}

TEST(Trainer, AnEmptyBatchCountsAsACallAndMakesNoUpdate) {
  for (const auto scope : {BatchScope::Replicated, BatchScope::PerRank, BatchScope::Root}) {
    on_ranks(2, [&](Communicator& comm) {
      TrainerHarness harness{model().folder(), comm, options()};
      const auto before = weights_of(harness.model());
      const auto stats = harness->step({.scope = scope});
      EXPECT_EQ(stats.updates, 0);
      EXPECT_EQ(stats.num_samples, 0);
      EXPECT_TRUE(std::isfinite(stats.loss));
      EXPECT_EQ(harness->state().call, 1);
      EXPECT_TRUE(same_weights(weights_of(harness.model()), before));
      return 0;
    });
  }
}

TEST(Trainer, ABadSampleOfOneRankIsThrownOnAllBeforeAnythingChanged) {
  const auto messages = on_ranks(3, [](Communicator& comm) {
    TrainerHarness harness{model().folder(), comm, options()};
    const auto before = weights_of(harness.model());
    auto batch = samples(3);
    batch.scope = BatchScope::PerRank;
    if (comm.rank() == 1) batch.input_ids[2].back() = 37;
    std::string message;
    try {
      harness->step(batch);
    } catch (const InputError& error) {
      message = error.what();
    }
    EXPECT_TRUE(same_weights(weights_of(harness.model()), before));
    EXPECT_EQ(harness->state().call, 0);
    // The trainer goes on with the next batch.
    EXPECT_EQ(harness->step(samples(2)).updates, 1);
    return message;
  });
  EXPECT_THAT(messages[0], HasSubstr("input_ids[2] holds id 37"));
  EXPECT_THAT(messages, Each(messages[0]));
}

TEST(Trainer, ReplicatedBatchesThatDifferAreRefused) {
  const auto refused = on_ranks(3, [](Communicator& comm) {
    TrainerHarness harness{model().folder(), comm, options()};
    auto batch = samples(3);
    if (comm.rank() == 2) batch.input_ids[1][0] = 3 + (batch.input_ids[1][0] - 2) % 34;
    try {
      harness->step(batch);
    } catch (const InputError&) {
      EXPECT_EQ(harness->step(samples(3)).updates, 1) << "usable afterwards";
      return 1;
    }
    return 0;
  });
  EXPECT_THAT(refused, Each(1));
}

TEST(Trainer, RanksWithOtherWeightsAreRefused) {
  const FixtureModel other{llama_config(), Fill::Random, /*seed=*/6};
  EXPECT_THROW(on_ranks(2,
                        [&](Communicator& comm) {
                          TrainerHarness{comm.rank() == 0 ? model().folder() : other.folder(), comm,
                                         options()};
                          return 0;
                        }),
               CommunicatorError);
}

TEST(Trainer, WhatIsNotFiniteOnOneRankIsAppliedOnNone) {
  for (const double poison : {std::numeric_limits<double>::infinity(), std::nan("")}) {
    const auto messages = on_ranks(3, [&](Communicator& comm) {
      TrainerHarness harness{model().folder(), comm, options()};
      harness->step(samples(6));
      auto head = harness.model().parameters().at("lm_head.weight").detach();
      if (comm.rank() == 1) head[5][3] = poison;
      const auto before = weights_of(harness.model());
      std::string message;
      try {
        harness->step(samples(6));
      } catch (const DivergedError& error) {
        message = error.what();
      }
      const auto after = weights_of(harness.model());
      for (std::size_t i = 0; i < before.size(); ++i) {
        EXPECT_TRUE(after[i].nan_to_num().equal(before[i].nan_to_num()));
      }
      EXPECT_EQ(harness->state().global_step, 1);
      EXPECT_EQ(harness->state().call, 2) << "that call is over";
      if (comm.rank() == 1) head[5][3] = 0.5;
      comm.barrier();
      if (comm.rank() != 1) head[5][3] = 0.5;
      EXPECT_EQ(harness->step(samples(4)).updates, 1) << "other samples may follow";
      return message;
    });
    EXPECT_THAT(messages, Each(HasSubstr("not finite at step 2")));
  }
}

/// Global norm of the gradients as the optimizer saw them.
double applied_norm(LanguageModel& model) {
  double squares = 0.0;
  for (const auto& group : model.parameters().groups()) {
    squares += group.gradients.to(at::kDouble).square().sum().item<double>();
  }
  return std::sqrt(squares);
}

TEST(Trainer, ClippingBoundsTheNormAndNeverRaisesIt) {
  distributed::LoopbackCommunicator comm;
  const auto applied_with = [&](double max_grad_norm) {
    auto clipped = options();
    clipped.max_grad_norm = max_grad_norm;
    TrainerHarness harness{model().folder(), comm, clipped, {.dtype = at::kDouble}};
    const auto reported = harness->step(samples(2)).grad_norm;
    return std::pair{reported, applied_norm(harness.model())};
  };
  const auto [norm, unclipped] = applied_with(0.0);
  EXPECT_NEAR(unclipped / norm, 1.0, 1e-12);
  for (const double share : {0.1, 0.9, 1.1, 100.0}) {
    const auto [reported, applied] = applied_with(share * norm);
    EXPECT_EQ(reported, norm);
    // Source: torch's clip_grad_norm_ divides by the norm + 1e-6.
    EXPECT_NEAR(applied / norm, std::min(share * norm / (norm + 1e-6), 1.0), 1e-12) << share;
  }
}

TEST(Trainer, Row28_AccumulationOnlySetsTheSizeOfUpdates) {
  distributed::LoopbackCommunicator comm;
  std::vector<std::vector<at::Tensor>> weights;
  for (const std::int64_t micro_batches : {1, 2, 4}) {
    auto split = options();
    split.per_device_train_batch_size = 4 / micro_batches;
    split.gradient_accumulation_steps = micro_batches;
    TrainerHarness harness{model().folder(), comm, split};
    const auto stats = harness->step(samples(4));
    EXPECT_EQ(stats.updates, 1);
    EXPECT_EQ(harness->state().global_train_batch_size, 4);
    weights.push_back(weights_of(harness.model()));
  }
  for (const auto& other : weights) {
    for (std::size_t i = 0; i < other.size(); ++i) {
      EXPECT_LT(relative_distance(other[i], weights[0][i]), 1e-5);
    }
  }
}

TEST(Trainer, ATokenBudgetChangesNothingButWhatIsComputedAtOnce) {
  distributed::LoopbackCommunicator comm;
  std::vector<std::vector<at::Tensor>> weights;
  for (const std::optional<std::int64_t> tokens : {std::optional<std::int64_t>{}, {1}, {9}}) {
    auto limited = options();
    limited.per_device_train_batch_size = 8;
    limited.global_train_batch_size = 4;
    limited.per_device_train_tokens = tokens;
    TrainerHarness harness{model().folder(), comm, limited};
    EXPECT_EQ(harness->step(samples(8)).updates, 2);
    weights.push_back(weights_of(harness.model()));
  }
  for (const auto& other : weights) {
    for (std::size_t i = 0; i < other.size(); ++i) {
      EXPECT_LT(relative_distance(other[i], weights[0][i]), 1e-5);
    }
  }
}

TEST(Trainer, AStopRequestOfOneRankStopsAllAtTheSameStep) {
  const auto steps = on_ranks(3, [](Communicator& comm) {
    StopAtRead signal{comm.rank() == 2 ? 2 : 0, StopRequest::SaveAndStop};
    TrainerHarness harness{model().folder(), comm, options(), {.stop_signal = &signal}};
    const auto stats = harness->step(samples(20));  // four updates
    EXPECT_TRUE(stats.stopped);
    EXPECT_TRUE(harness->stopped());
    EXPECT_TRUE(harness->done());
    EXPECT_EQ(harness->step(samples(20)).updates, 0);
    return stats.step;
  });
  EXPECT_THAT(steps, Each(2));
}

TEST(Trainer, AStopRequestBetweenCallsReachesAll) {
  on_ranks(3, [](Communicator& comm) {
    StopAtRead signal{comm.rank() == 1 ? 2 : 0, StopRequest::SaveAndStop};
    TrainerHarness harness{model().folder(), comm, options(), {.stop_signal = &signal}};
    EXPECT_FALSE(harness->stop_if_asked());
    EXPECT_TRUE(harness->stop_if_asked());
    EXPECT_TRUE(harness->done());
    return 0;
  });
}

TEST(Trainer, OrderMakesItIrrelevantWhoHoldsWhat) {
  const auto weights_after = [](auto&& holder_of) {
    return on_ranks(4, [&](Communicator& comm) {
      auto fixed = options();
      fixed.full_determinism = true;
      TrainerHarness harness{model().folder(), comm, fixed, {.deterministic = true}};
      harness->step(held_by(comm, samples(13), holder_of));
      return weights_of(harness.model());
    })[0];
  };
  const auto dealt = weights_after([](std::size_t i) { return static_cast<int>(i % 4); });
  EXPECT_TRUE(same_weights(weights_after([](std::size_t) { return 2; }), dealt));
  EXPECT_TRUE(same_weights(weights_after([](std::size_t i) { return i < 5 ? 1 : 0; }), dealt));
}

TEST(Trainer, WhereSamplesOfOneLengthLieIsIrrelevantUnderFullDeterminism) {
  Batch equal;  // so that without it they would stay
  for (std::int64_t i = 0; i < 8; ++i) equal.input_ids.push_back({3 + i, 4 + 2 * i, 5 + i});
  const auto weights_after = [&](std::vector<int> holders) {
    return on_ranks(4, [&](Communicator& comm) {
      auto fixed = options();
      fixed.full_determinism = true;
      // So that the last bits of gradients show in the weights.
      fixed.optim = "sgd";
      fixed.max_grad_norm = 0;
      fixed.learning_rate = 1e3;
      TrainerHarness harness{model().folder(), comm, fixed, {.deterministic = true}};
      harness->step(held_by(comm, equal, [&](std::size_t i) { return holders[i]; }));
      return weights_of(harness.model());
    })[0];
  };
  EXPECT_TRUE(same_weights(weights_after({0, 1, 2, 3, 0, 1, 2, 3}),
                           weights_after({0, 2, 1, 3, 3, 0, 2, 1})));
}

TEST(Trainer, SamplesMoveOnceACallWhereThatShortensAnUpdate) {
  const auto exchanges = on_ranks(3, [](Communicator& inner) {
    CountingCommunicator comm{inner};
    TrainerHarness harness{model().folder(), comm, options()};
    const Batch equal{.input_ids = std::vector<TokenIds>(6, TokenIds{5, 6, 7})};
    harness->step(held_by(comm, equal, [](std::size_t i) { return static_cast<int>(i % 3); }));
    const auto balanced = comm.exchanges();
    harness->step(held_by(comm, samples(14), [](std::size_t) { return 1; }));
    EXPECT_EQ(comm.sent() > 0, comm.rank() == 1);
    return std::pair{balanced, comm.exchanges()};
  });
  EXPECT_THAT(exchanges, Each(Pair(0, 1)));
}

TEST(Trainer, SamplesOfARankAreTrainedByAll) {
  const auto seen = on_ranks(3, [](Communicator& comm) {
    const FirstTokens collator;
    TrainerHarness harness{model().folder(), comm, options(), {.collator = &collator}};
    Batch batch;
    for (std::int64_t i = 0; i < 12; ++i) batch.input_ids.push_back({3 + i, 4, 5});
    harness->step(held_by(comm, batch, [](std::size_t) { return 2; }));
    return collator.seen;
  });
  std::vector<std::int64_t> all;
  for (const auto& of_rank : seen) {
    EXPECT_EQ(of_rank.size(), 4U);
    all.insert(all.end(), of_rank.begin(), of_rank.end());
  }
  std::ranges::sort(all);
  EXPECT_THAT(all, ElementsAre(3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14));
}

TEST(Trainer, TellsOfEveryUpdateOnEveryRank) {
  const auto told = on_ranks(2, [](Communicator& comm) {
    TrainerHarness harness{model().folder(), comm, options()};
    std::vector<std::int64_t> steps;
    StepRecorder recorder{steps};
    harness->add_callback(recorder);
    harness->step(samples(9));
    return steps;
  });
  EXPECT_THAT(told, Each(ElementsAre(1, 2, 3)));
}

/// Writes down what is told, in order; asks for a stop at one update on one rank.
class Diary final : public TrainerCallback {
 public:
  void on_round_begin(const TrainerState& state) override { write("round", state.call); }
  void on_round_end(const TrainerState&, const StepStats& stats) override {
    write("round done", stats.updates);
  }
  void on_step_begin(const TrainerState& state) override { write("step", state.global_step); }
  void on_step_end(const TrainerState&, const UpdateStats& update) override {
    write("step done", update.step);
    if (update.step == stop_at) trainer->request_stop();
  }
  void on_log(const TrainerState&, const LogRecord& record) override {
    write("log", record.step);
    losses.push_back(record.loss);
  }
  void on_evaluate(const TrainerState&, const EvalStats& stats) override {
    write("evaluated", stats.num_samples);
  }

  std::vector<std::string> entries;
  std::vector<double> losses;
  Trainer* trainer = nullptr;
  std::int64_t stop_at = -1;

 private:
  void write(const std::string& what, std::int64_t number) {
    entries.push_back(what + ' ' + std::to_string(number));
  }
};

TEST(Trainer, TellsCallbacksInOrder) {
  distributed::LoopbackCommunicator comm;
  auto with_log = options();
  with_log.logging_steps = 2;
  TrainerHarness harness{model().folder(), comm, with_log};
  Diary diary;
  harness->add_callback(diary);
  const auto stats = harness->step(samples(4));
  harness->evaluate(samples(3));
  EXPECT_THAT(diary.entries, ElementsAre("round 0", "step 0", "step done 1", "step 1",
                                         "step done 2", "log 2", "round done 2", "evaluated 3"));
  EXPECT_NEAR(diary.losses.at(0), stats.loss, 1e-12);
  EXPECT_THAT(stats.summary(), ::testing::StartsWith("step=2 updates=2 loss="));
}

TEST(Trainer, Row33_LogsAShareOfAllUpdates) {
  distributed::LoopbackCommunicator comm;
  auto with_log = options();
  with_log.logging_steps = 0.5;
  with_log.max_steps = 10;
  TrainerHarness harness{model().folder(), comm, with_log};
  Diary diary;
  harness->add_callback(diary);
  while (!harness->done()) harness->step(samples(6));
  EXPECT_EQ(std::count(diary.entries.begin(), diary.entries.end(), "log 5"), 1);
  EXPECT_EQ(std::count(diary.entries.begin(), diary.entries.end(), "log 10"), 1);
  EXPECT_EQ(diary.losses.size(), 2U);
}

TEST(Trainer, ACallbackOfOneRankStopsAll) {
  const auto steps = on_ranks(3, [](Communicator& comm) {
    TrainerHarness harness{model().folder(), comm, options()};
    Diary diary;
    diary.trainer = &*harness.operator->();
    diary.stop_at = comm.rank() == 1 ? 2 : -1;
    harness->add_callback(diary);
    const auto stats = harness->step(samples(24));
    EXPECT_TRUE(stats.stopped);
    EXPECT_TRUE(harness->done());
    return stats.step;
  });
  EXPECT_THAT(steps, Each(2));
}

TEST(Trainer, Row37_SkipsWhatIsNotFiniteAndSaysWhose) {
  const auto steps = on_ranks(2, [&](Communicator& comm) {
    auto skipping = options();
    skipping.on_non_finite = "skip";
    skipping.shuffle_dataset = false;
    skipping.per_device_train_batch_size = 1;
    skipping.global_train_batch_size = 2;
    TrainerHarness harness{model().folder(), comm, skipping};
    // Only samples with the id 36 meet the poisoned row, for they alone predict from it.
    harness.model().parameters().at("model.embed_tokens.weight").detach()[36].fill_(
        std::numeric_limits<double>::infinity());
    const auto stats = harness->step({.input_ids = {{1, 4, 5}, {1, 36, 6}, {1, 7, 8}, {1, 9, 2}}});
    EXPECT_EQ(stats.updates, 1);
    EXPECT_EQ(stats.skipped, 1);
    EXPECT_EQ(stats.non_finite, 1);
    EXPECT_TRUE(std::isfinite(stats.loss));
    EXPECT_TRUE(harness.model().parameters().at("lm_head.weight").isfinite().all().item<bool>());
    EXPECT_THAT(harness.log().warnings, ElementsAre(HasSubstr("among the samples 1 of the call")));
    return stats.step;
  });
  EXPECT_THAT(steps, Each(1));
}

TEST(Trainer, Row37_WhatIsNotFiniteOnOneRankIsSkippedByAll) {
  const auto skipped = on_ranks(2, [&](Communicator& comm) {
    auto skipping = options();
    skipping.on_non_finite = "skip";
    TrainerHarness harness{model().folder(), comm, skipping};
    auto head = harness.model().parameters().at("lm_head.weight").detach();
    const auto clean = head.clone();
    if (comm.rank() == 1) head.fill_(std::numeric_limits<double>::infinity());
    const auto stats = harness->step(samples(8));
    EXPECT_EQ(stats.updates, 0);
    EXPECT_EQ(stats.non_finite, stats.skipped);
    EXPECT_EQ(harness->state().global_step, 0);
    head.copy_(clean);
    EXPECT_EQ(harness->step(samples(8)).updates, 2);
    return stats.skipped;
  });
  EXPECT_THAT(skipped, Each(2));
}

TEST(Trainer, Row37_AGradientThatIsNotFiniteIsTracedToItsSamples) {
  const auto messages = on_ranks(2, [&](Communicator& comm) -> std::string {
    auto stopping = options();
    stopping.shuffle_dataset = false;
    stopping.per_device_train_batch_size = 1;
    stopping.global_train_batch_size = 4;
    const FirstTokens collator;
    TrainerHarness harness{model().folder(), comm, stopping, {.collator = &collator}};
    // Losses stay finite: the gradient of rank 1's second micro-batch does not, whenever it is
    // computed.
    bool poisons = comm.rank() == 1;
    int backward = 0;
    harness.model()
        .parameters()
        .at("model.norm.weight")
        .register_hook([&](const at::Tensor& gradient) {
          const bool is_second = backward++ % 2 == 1;
          return poisons && is_second ? gradient * std::numeric_limits<double>::infinity()
                                      : gradient;
        });
    const auto before = weights_of(harness.model());
    const Batch batch{.input_ids = {{10, 4, 5}, {11, 4, 5}, {12, 4, 5}, {13, 4, 5}}};
    std::string message;
    try {
      harness->step(batch);
    } catch (const DivergedError& error) {
      message = error.what();
    }
    if (comm.rank() == 1) {
      EXPECT_THAT(message, HasSubstr("(loss "));
      EXPECT_THAT(message, Not(HasSubstr("loss nan")));
      EXPECT_THAT(message, HasSubstr("rank 1: among the samples " +
                                     std::to_string(collator.seen.at(1) - 10) + " of the call"));
    }
    EXPECT_TRUE(same_weights(weights_of(harness.model()), before));
    poisons = false;
    EXPECT_EQ(harness->step(batch).updates, 1) << "usable afterwards";
    return message;
  });
  EXPECT_THAT(messages, Each(messages[0]));
}

TEST(Trainer, SgdIsWhatItSays) {
  distributed::LoopbackCommunicator comm;
  const auto after = [&](double learning_rate, double momentum, double decay, int updates) {
    TrainerHarness harness{model().folder(),
                           comm,
                           {.updates_per_step = "one",
                            .shuffle_dataset = false,
                            .learning_rate = learning_rate,
                            .lr_scheduler_type = "constant",
                            .weight_decay = decay,
                            .max_grad_norm = 0.0,
                            .optim = "sgd",
                            .momentum = momentum},
                           {.dtype = at::kDouble}};
    for (int i = 0; i < updates; ++i) harness->step(samples(4));
    std::map<std::string, at::Tensor> tensors;
    for (const char* name : {"lm_head.weight", "model.norm.weight"}) {
      const auto parameter = harness.model().parameters().at(name);
      tensors[name] = parameter.detach().clone();
      tensors[name + std::string{" gradient"}] = parameter.grad().detach().clone();
    }
    return tensors;
  };
  auto start = after(0.0, 0.0, 0.0, 1), one = after(0.1, 0.0, 0.01, 1);
  auto plain = after(0.1, 0.5, 0.0, 1), second = after(0.1, 0.5, 0.0, 2);
  for (const std::string name : {"lm_head.weight", "model.norm.weight"}) {
    const auto gradient = start[name + " gradient"];
    const double decay = name == "lm_head.weight" ? 0.01 : 0.0;  // norms do not decay
    const auto expected = start[name] - (gradient + start[name] * decay) * 0.1;
    EXPECT_LT(relative_distance(one[name], expected), 1e-12) << name;
    // The second direction is half the first, and the gradient where the first led.
    const auto then = plain[name] - (gradient * 0.5 + second[name + " gradient"]) * 0.1;
    EXPECT_LT(relative_distance(second[name], then), 1e-12) << name;
  }
}

TEST(Trainer, TimesAddUpAndAreEqualOnAllRanks) {
  const auto stats = on_ranks(2, [](Communicator& comm) {
    TrainerHarness harness{model().folder(), comm, options()};
    return harness->step(samples(8));
  });
  EXPECT_EQ(stats[0].to_map(), stats[1].to_map());
  double sum = 0.0;
  for (const double seconds : stats[0].phase_times) {
    EXPECT_GE(seconds, 0.0);
    sum += seconds;
  }
  // Each phase is that of its own slowest rank, so that the sum may be more than the step took.
  EXPECT_GT(sum, 0.5 * stats[0].step_time);
  EXPECT_LT(sum, 2.0 * stats[0].step_time);
  EXPECT_GE(stats[0].skew, 1.0);
  EXPECT_LE(stats[0].skew, 2.0);
}

TEST(Trainer, EvaluationIsTimedApart) {
  distributed::LoopbackCommunicator comm;
  auto evaluating = options();
  evaluating.eval_strategy = "steps";
  evaluating.eval_steps = 1;
  TrainerHarness harness{model().folder(), comm, evaluating, {.eval_sets = {{"", samples(64)}}}};
  const auto stats = harness->step(samples(2));
  const auto evaluate = stats.phase_times[static_cast<std::size_t>(Phase::Evaluate)];
  const auto checkpoint = stats.phase_times[static_cast<std::size_t>(Phase::Checkpoint)];
  EXPECT_GT(evaluate, checkpoint);
  EXPECT_THAT(stats.to_map(), Contains(Pair("evaluate_time", evaluate)));
  const auto training = static_cast<double>(stats.input_tokens) / stats.tokens_per_second;
  EXPECT_NEAR(training, stats.step_time - evaluate - checkpoint, 1e-9);
}

TEST(Trainer, EvaluationCountsEverySampleOnceAndTrainsNothing) {
  std::vector<double> losses;
  for (const int ranks : {1, 2, 4}) {
    on_ranks(ranks, [&](Communicator& comm) {
      TrainerHarness harness{model().folder(), comm, options()};
      const auto before = weights_of(harness.model());
      const auto stats = harness->evaluate(samples(3));  // fewer than four ranks
      EXPECT_EQ(stats.num_samples, 3);
      EXPECT_TRUE(same_weights(weights_of(harness.model()), before));
      if (comm.rank() == 0) losses.push_back(stats.loss);
      return 0;
    });
  }
  for (const double loss : losses) EXPECT_NEAR(loss / losses[0], 1.0, 1e-6);
}

TEST(Trainer, Row16_MetricsGetEverySampleInOrder) {
  distributed::LoopbackCommunicator alone;
  MetricsLog log;
  auto one_row = options();
  one_row.per_device_eval_batch_size = 1;
  TrainerHarness harness{model().folder(), alone, one_row, {.eval_hooks = hooks_into(log)}};
  const auto stats = harness->evaluate({.input_ids = {{5, 6, 7}, {8, 9}}});
  // One sample at a time, the longer one first or last as the shares have it.
  std::sort(log.shapes.begin(), log.shapes.end());
  EXPECT_THAT(log.shapes, ElementsAre(ElementsAre(1, 2, 37), ElementsAre(1, 3, 37)));
  EXPECT_EQ(log.got.predictions.sizes(), (at::IntArrayRef{2, 3}));
  EXPECT_EQ(log.got.predictions[1][2].item<std::int64_t>(), -100);
  const auto labels = at::tensor({5, 6, 7, 8, 9, -100}, at::kLong).view({2, 3});
  EXPECT_TRUE(log.got.label_ids.equal(labels));
  const auto map = stats.to_map();
  EXPECT_EQ(map.front().first, "eval_loss");
  EXPECT_THAT(map, Contains(Pair("eval_acc", 0.5)));
  EXPECT_THAT(map, Contains(Pair("eval_words", 3.0)));
}

TEST(Trainer, Row15_MetricsDoNotDependOnRanksAndBatches) {
  distributed::LoopbackCommunicator alone;
  MetricsLog reference;
  TrainerHarness harness{model().folder(), alone, options(), {.eval_hooks = hooks_into(reference)}};
  harness->evaluate(samples(7));
  for (const int ranks : {2, 4}) {
    const auto maps = on_ranks(ranks, [&](Communicator& comm) {
      MetricsLog log;
      auto other = options();
      other.per_device_eval_batch_size = 3;
      TrainerHarness split{model().folder(), comm, other, {.eval_hooks = hooks_into(log)}};
      const auto stats = split->evaluate(samples(7));
      if (comm.rank() == 0) {
        EXPECT_TRUE(log.got.predictions.equal(reference.got.predictions));
        EXPECT_TRUE(log.got.label_ids.equal(reference.got.label_ids));
      } else {
        EXPECT_FALSE(log.got.label_ids.defined()) << "only rank 0 computes metrics";
      }
      return stats.metrics;
    });
    EXPECT_THAT(maps, Each(ElementsAre(Pair("acc", 0.5), Pair("eval_words", 3.0))));
  }
}

/// Metrics of an encoder-decoder too, whose sequences have a token before their labels.
TEST(Trainer, MetricsGetTheLabelsOfSamplesThatRankZeroDoesNotHold) {
  for (const auto* name : {"llama", "t5"}) {
    const FixtureModel folder{config_named(name), Fill::Random, /*seed=*/5};
    const Batch all{.input_ids = ragged_sequences(7, 30, 21),
                    .labels = ragged_sequences(7, 30, 21)};
    distributed::LoopbackCommunicator alone;
    MetricsLog reference;
    TrainerHarness harness{
        folder.folder(), alone, options(), {.eval_hooks = hooks_into(reference)}};
    harness->evaluate(all);
    EXPECT_EQ(reference.got.label_ids[0][0].item<std::int64_t>(), all.labels[0][0]) << name;
    on_ranks(3, [&](Communicator& comm) {
      MetricsLog log;
      TrainerHarness split{folder.folder(), comm, options(), {.eval_hooks = hooks_into(log)}};
      split->evaluate(held_by(comm, all, [](std::size_t) { return 2; }));
      if (comm.rank() != 0) return 0;
      EXPECT_TRUE(log.got.predictions.equal(reference.got.predictions)) << name;
      EXPECT_TRUE(log.got.label_ids.equal(reference.got.label_ids)) << name;
      return 0;
    });
  }
}

TEST(Trainer, EvaluationSetsMoveOnce) {
  const auto counted = on_ranks(3, [](Communicator& inner) {
    CountingCommunicator comm{inner};
    const auto mine = held_by(comm, samples(7), [](std::size_t) { return 1; });
    TrainerHarness harness{model().folder(), comm, options(), {.eval_sets = {{"", mine}}}};
    const auto first = harness->evaluate()[0].loss;
    EXPECT_EQ(harness->evaluate()[0].loss, first);
    return comm.exchanges();
  });
  EXPECT_THAT(counted, Each(1));
}

TEST(Trainer, Row12_NamedSetsAreEvaluatedWhenDueAndTheBestIsNoted) {
  const auto checked = on_ranks(2, [&](Communicator& comm) {
    auto with_eval = options();
    with_eval.eval_strategy = "steps";
    with_eval.eval_steps = 2;
    with_eval.metric_for_best_model = "eval_b_loss";
    TrainerHarness harness{
        model().folder(), comm, with_eval, {.eval_sets = {{"a", samples(3)}, {"b", samples(5)}}}};
    Diary diary;
    harness->add_callback(diary);
    const auto stats = harness->step(samples(16));  // four updates
    EXPECT_EQ(std::count(diary.entries.begin(), diary.entries.end(), "evaluated 3"), 2);
    EXPECT_EQ(std::count(diary.entries.begin(), diary.entries.end(), "evaluated 5"), 2);
    const auto map = stats.to_map();
    EXPECT_THAT(map, Contains(Pair("eval_a_loss", ::testing::_)));
    const auto b = std::find_if(map.begin(), map.end(),
                                [](const auto& figure) { return figure.first == "eval_b_loss"; });
    EXPECT_NE(b, map.end());
    EXPECT_LE(harness->state().best_metric.value_or(1e9), b->second);
    EXPECT_GT(harness->state().best_step, 0);
    return 1;
  });
  EXPECT_THAT(checked, Each(1));
}

TEST(Trainer, AMetricThatIsNotFiniteIsNeverTheBest) {
  distributed::LoopbackCommunicator comm;
  auto looking = options();
  looking.metric_for_best_model = "eval_f1";
  looking.greater_is_better = true;
  double f1 = std::nan("");
  const EvalHooks hooks{
      .compute_metrics = [&](const EvalPrediction&) { return Metrics{{"f1", f1}}; }};
  TrainerHarness harness{model().folder(), comm, looking,
                         {.eval_sets = {{"", samples(2)}}, .eval_hooks = hooks}};
  harness->evaluate();
  EXPECT_FALSE(harness->state().best_metric.has_value());
  f1 = 0.5;
  harness->evaluate();
  EXPECT_EQ(harness->state().best_metric, 0.5);
}

TEST(Trainer, EvaluationNeedsWhatItIsAskedFor) {
  distributed::LoopbackCommunicator comm;
  auto bad = options();
  bad.eval_strategy = "steps";
  bad.eval_steps = 1;
  EXPECT_THROW((TrainerHarness{model().folder(), comm, bad}), ConfigError) << "no set";
  EXPECT_THROW((TrainerHarness{model().folder(), comm, {.metric_for_best_model = "eval_loss"}}),
               ConfigError)
      << "no set";
  EXPECT_THROW((TrainerHarness{model().folder(), comm, {.eval_strategy = "end"},
                               {.eval_sets = {{"", samples(2)}}}}),
               ConfigError)
      << "no end";
  bad.metric_for_best_model = "eval_bleu";
  TrainerHarness harness{model().folder(), comm, bad, {.eval_sets = {{"", samples(2)}}}};
  EXPECT_THROW(harness->step(samples(2)), ConfigError) << "no such metric";
}

TEST(Trainer, AHookThatFailsOnOneRankFailsOnAll) {
  const auto messages = on_ranks(3, [](Communicator& comm) -> std::string {
    bool fails = comm.rank() == 1;
    const EvalHooks hooks{
        .preprocess_logits_for_metrics =
            [&](const at::Tensor& logits, const at::Tensor&) {
              if (fails) throw std::runtime_error{"no such metric"};
              return logits.argmax(-1);
            },
        .compute_metrics = [](const EvalPrediction&) { return Metrics{{"acc", 1.0}}; }};
    TrainerHarness harness{model().folder(), comm, options(), {.eval_hooks = hooks}};
    std::string message;
    try {
      harness->evaluate(samples(6));
    } catch (const Error& error) {
      message = error.what();
    }
    fails = false;
    EXPECT_EQ(harness->evaluate(samples(6)).num_samples, 6) << "usable afterwards";
    return message;
  });
  EXPECT_THAT(messages, Each("[rank 1] no such metric"));
}

TEST(Trainer, ACallbackThatThrowsOnOneRankEndsItsCallOnAll) {
  struct Thrower final : TrainerCallback {
    void on_step_end(const TrainerState&, const UpdateStats& update) override {
      if (update.step == throws_at) throw std::runtime_error{"the caller's own"};
    }
    void on_evaluate(const TrainerState&, const EvalStats&) override {
      if (throws_at >= 0) throw std::runtime_error{"of the evaluation"};
    }
    std::int64_t throws_at = -1;
  };
  for (const int ranks : {1, 3}) {
    const auto messages = on_ranks(ranks, [&](Communicator& comm) {
      auto four = options();
      four.global_train_batch_size = 4;
      TrainerHarness harness{model().folder(), comm, four};
      Thrower thrower;
      thrower.throws_at = comm.rank() == ranks - 1 ? 2 : -1;
      harness->add_callback(thrower);
      std::vector<std::string> messages;
      const auto catch_into = [&](const auto& work) {
        try {
          work();
        } catch (const Error& error) {
          messages.push_back(error.what());
        }
      };
      catch_into([&] { harness->step(samples(16)); });
      EXPECT_EQ(harness->state().global_step, 2);
      EXPECT_EQ(harness->state().call, 1);
      catch_into([&] { harness->evaluate(samples(3)); });
      auto others = samples(10);
      others.input_ids.erase(others.input_ids.begin(), others.input_ids.begin() + 2);
      EXPECT_EQ(harness->step(others).updates, 2) << "other samples may follow";
      return messages;
    });
    EXPECT_THAT(messages,
                Each(ElementsAre(HasSubstr("the caller's own"), HasSubstr("of the evaluation"))));
  }
}

/// What the ranks say in the update in which they compare, after one of them spoilt a weight of
/// rank 1.
std::vector<std::string> after_spoiling(int ranks, const std::function<void(at::Tensor)>& spoil) {
  return on_ranks(ranks, [&](Communicator& comm) -> std::string {
    auto checking = options();
    checking.replica_check_steps = 2;
    checking.global_train_batch_size = 4;
    TrainerHarness harness{model().folder(), comm, checking};
    EXPECT_EQ(harness->step(samples(8)).updates, 2);
    const auto norm = harness.model().parameters().at("model.layers.0.input_layernorm.weight");
    if (comm.rank() == comm.size() - 1) spoil(norm.detach());
    EXPECT_EQ(harness->step(samples(4)).updates, 1) << "not looked at yet";
    try {
      harness->step(samples(4));
    } catch (const DivergedError& error) {
      return error.what();
    }
    return "";
  });
}

TEST(Trainer, ReplicasThatDivergeAreFoundAndNamed) {
  // As a failing memory may flip it.
  const auto flip_a_bit = [](at::Tensor weights) {
    weights[3] = std::nextafter(weights[3].item<float>(), 2.0F);
  };
  for (const int ranks : {2, 3}) {
    const auto messages = after_spoiling(ranks, flip_a_bit);
    EXPECT_THAT(messages[0],
                HasSubstr("after update 4 rank " + std::to_string(ranks - 1) + " holds another "));
    EXPECT_THAT(messages[0], HasSubstr("model.layers.0.input_layernorm.weight"));
    EXPECT_THAT(messages, Each(messages[0]));
  }
}

TEST(Trainer, OptionsThatOneRankAloneCannotUseAreRefusedOnAll) {
  const auto messages = on_ranks(2, [](Communicator& comm) -> std::string {
    auto mine = options();
    if (comm.rank() == 1) mine.max_grad_norm = -1.0;
    try {
      TrainerHarness{model().folder(), comm, mine};
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  });
  EXPECT_THAT(messages, Each(HasSubstr("max_grad_norm must be >= 0")));
}

TEST(Trainer, WhatFailsInForwardOnOneRankFailsOnAll) {
  const auto messages = on_ranks(2, [](Communicator& comm) -> std::string {
    TrainerHarness harness{model().folder(), comm, options()};
    auto norm = harness.model().parameters().at("model.norm.weight");
    bool fails = comm.rank() == 1;
    norm.register_hook([&](const at::Tensor& gradient) {
      if (fails) throw std::runtime_error{"out of luck"};
      return gradient;
    });
    std::string message;
    try {
      harness->step(samples(8));
    } catch (const Error& error) {
      message = error.what();
    }
    fails = false;
    EXPECT_EQ(harness->state().global_step, 0);
    EXPECT_EQ(harness->step(samples(8)).updates, 2) << "usable afterwards";
    return message;
  });
  EXPECT_THAT(messages[0], HasSubstr("[rank 1] out of luck"));
  EXPECT_THAT(messages, Each(messages[0]));
}

TEST(Trainer, SamplesLongerThanATableOfPositionsAreRefused) {
  const FixtureModel gpt2{config_named("gpt2"), Fill::Random, /*seed=*/3};
  distributed::LoopbackCommunicator comm;
  const auto most = TrainerHarness{gpt2.folder(), comm, {}}.model().shape().max_positions;
  const auto build = [&](const FixtureModel& folder, std::int64_t max_length) {
    TrainerHarness{folder.folder(), comm, {.max_length = max_length}};
  };
  build(gpt2, most);
  EXPECT_THAT([&] { build(gpt2, most + 1); },
              ::testing::ThrowsMessage<ConfigError>(
                  HasSubstr("Give --max_length " + std::to_string(most) + " or less")));
  build(model(), 100'000);  // rotary positions have no end
}

TEST(Trainer, RanksThatAreToldOtherwiseAreRefused) {
  const std::vector<std::pair<TrainerOptions, std::string>> others{
      {{.seed = 43}, "seed: 43, rank 0 seed: 42. Give all ranks the same seed"},
      {{.learning_rate = 1e-3}, "learning_rate"},
      {{.past_max_steps = "hold"}, "past_max_steps"}};
  for (const auto& [other, named] : others) {
    const auto messages = on_ranks(3, [&](Communicator& comm) -> std::string {
      try {
        TrainerHarness{model().folder(), comm, comm.rank() == 2 ? other : TrainerOptions{}};
      } catch (const ConfigError& error) {
        return error.what();
      }
      return "";
    });
    EXPECT_THAT(messages, Each(HasSubstr("rank 2 was given " + named))) << named;
    EXPECT_THAT(messages, Each(HasSubstr("all ranks"))) << named;
  }
  const auto hooks = on_ranks(2, [&](Communicator& comm) -> std::string {
    EvalHooks hooks;
    if (comm.rank() == 0) hooks.compute_metrics = [](const EvalPrediction&) { return Metrics{}; };
    try {
      TrainerHarness{model().folder(), comm, {}, {.eval_hooks = hooks}};
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  });
  EXPECT_THAT(hooks, Each(HasSubstr("compute_metrics")));
}

TEST(Trainer, SamplesLeftAtTheEndAreToldOf) {
  distributed::LoopbackCommunicator comm;
  auto ending = options();
  ending.max_steps = 1;
  TrainerHarness harness{model().folder(), comm, ending};
  EXPECT_EQ(harness->step(samples(7)).updates, 1);
  EXPECT_THAT(harness.log().warnings,
              ElementsAre(HasSubstr("5 samples of this call were not trained")));
}

TEST(Trainer, AStoppedCallStaysUnfinished) {
  distributed::LoopbackCommunicator comm;
  StopAtRead signal{1, StopRequest::SaveAndStop};
  TrainerHarness harness{model().folder(), comm, options(), {.stop_signal = &signal}};
  EXPECT_EQ(harness->step(samples(8)).updates, 1);
  EXPECT_EQ(harness->step(samples(2)).updates, 0);
  EXPECT_EQ(harness->state().call, 0);
  EXPECT_EQ(harness->state().updates_in_call, 1);
}

TEST(Trainer, PredictionsOfAnyShapeDoNotDependOnBatches) {
  distributed::LoopbackCommunicator comm;
  at::Tensor first;
  for (const std::int64_t rows : {1, 2}) {
    MetricsLog log;
    auto hooks = hooks_into(log);
    hooks.per_token = false;
    hooks.preprocess_logits_for_metrics = [](const at::Tensor& logits, const at::Tensor&) {
      return logits.select(1, 0).narrow(-1, 0, 3);  // (n, 3), and one sample has three tokens
    };
    auto batched = options();
    batched.per_device_eval_batch_size = rows;
    TrainerHarness harness{model().folder(), comm, batched, {.eval_hooks = hooks}};
    harness->evaluate({.input_ids = {{5, 6, 7}, {8, 9}}});
    if (rows == 1) first = log.got.predictions;
    EXPECT_TRUE(log.got.predictions.allclose(first, 1e-4, 1e-5)) << log.got.predictions;
    EXPECT_GT(log.got.predictions.min().item<double>(), -99.0);
  }
  EvalHooks wrong;
  wrong.preprocess_logits_for_metrics = [](const at::Tensor& logits, const at::Tensor&) {
    return logits.select(1, 0);
  };
  wrong.compute_metrics = [](const EvalPrediction&) { return Metrics{}; };
  TrainerHarness harness{model().folder(), comm, options(), {.eval_hooks = wrong}};
  EXPECT_THROW(harness->evaluate({.input_ids = {{5, 6, 7}}}), InputError)
      << "(n, V) without per_token false";
}

TEST(Trainer, EvaluationOfNothingIsZero) {
  distributed::LoopbackCommunicator comm;
  TrainerHarness harness{model().folder(), comm, options()};
  const auto stats = harness->evaluate({});
  EXPECT_EQ(stats.loss, 0.0);
  EXPECT_EQ(stats.num_tokens, 0);
}

TEST(Trainer, Row14_RefusesOptionsThatDoNotFit) {
  distributed::LoopbackCommunicator comm;
  const auto refuse = [&](TrainerOptions bad) {
    EXPECT_THROW(TrainerHarness(model().folder(), comm, bad), ConfigError);
  };
  refuse({.max_length = 0});
  refuse({.truncation_mode = "bogus"});
  refuse({.per_device_train_batch_size = 0});
  refuse({.global_train_batch_size = 0});
  refuse({.updates_per_step = "some"});
  refuse({.learning_rate = std::nan("")});
  refuse({.lr_scheduler_type = "linear"});  // without max_steps
  refuse({.lr_scheduler_type = "polynomal", .max_steps = 3});
  refuse({.lr_scheduler_type = "polynomial"});  // without max_steps
  refuse({.warmup_steps = 0.5});
  refuse({.warmup_steps = 2.7});
  refuse({.past_max_steps = "go on"});
  refuse({.weight_decay = std::numeric_limits<double>::infinity()});
  refuse({.adam_epsilon = -1.0});
  refuse({.max_steps = 0});
  refuse({.max_grad_norm = -1.0});
}

TEST(Trainer, WithoutMaxStepsTheRateIsConstantByDefault) {
  distributed::LoopbackCommunicator comm;
  TrainerHarness harness{model().folder(), comm, options()};
  const auto stats = harness->step(samples(6));
  for (const auto& update : stats.history) EXPECT_EQ(update.learning_rate, 1e-2);
}

}  // namespace
}  // namespace hone::testing

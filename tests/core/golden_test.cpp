// Numbers of transformers on exactly defined models and sequences (see fixture_model.hpp): what
// hone must compute, whatever its own parts agree on among themselves.
#include <ATen/TensorOperators.h>
#include <ATen/ops/mm.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "hone/core/training/packed_forward.hpp"
#include "hone/core/training/row_rules.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/golden_families.hpp"
#include "support/rank_threads.hpp"
#include "support/split_training.hpp"
#include "support/trainer_checks.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

Batch first_two() {
  const auto all = fixture_sequences();
  return {.input_ids = {all[0], all[1]}};
}

class Golden : public ::testing::Test {
 protected:
  /// Statistics of one call on a fresh model, on one rank; two and four have the same.
  static StepStats first_step(const Batch& batch, const TrainerOptions& options = one_update_a_call(),
                              const TrainerHarness::Extras& extras = {},
                              const FixtureModel& model = FixtureModel{llama_config()}) {
    const auto on = [&](int num_ranks) {
      return on_ranks(num_ranks, [&](Communicator& comm) {
        TrainerHarness harness{model.folder(), comm, options, extras};
        return harness->step(batch);
      })[0];
    };
    const auto one = on(1);
    for (const int num_ranks : {2, 4}) {
      SCOPED_TRACE(std::to_string(num_ranks) + " ranks");
      const auto several = on(num_ranks);
      EXPECT_NEAR(several.loss / one.loss, 1.0, 1e-6);
      EXPECT_NEAR(several.grad_norm / one.grad_norm, 1.0, 1e-6);
      EXPECT_EQ(several.num_samples, one.num_samples);
      EXPECT_EQ(several.num_tokens, one.num_tokens);
      EXPECT_EQ(several.input_tokens, one.input_tokens);
      EXPECT_EQ(several.truncated, one.truncated);
    }
    return one;
  }

  FixtureModel llama_{llama_config()};
  distributed::LoopbackCommunicator comm_;
};

TEST_F(Golden, EachSequenceHasItsLoss) {
  const std::vector<std::pair<double, std::int64_t>> expected{
      {23.73451, 7}, {18.70865, 5}, {8.13652, 2}, {33.38469, 8}};
  TrainerHarness harness{llama_.folder(), comm_, one_update_a_call()};
  const auto sequences = fixture_sequences();
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const auto stats = harness->evaluate({.input_ids = {sequences[i]}});
    EXPECT_EQ(stats.num_tokens, expected[i].second);
    EXPECT_NEAR(stats.loss * static_cast<double>(stats.num_tokens), expected[i].first, kFirst);
  }
}

TEST_F(Golden, LossIsPooledOverTokensForAnyEvaluationBatch) {
  for (const std::int64_t rows : {1, 2, 4}) {
    auto options = one_update_a_call();
    options.per_device_eval_batch_size = rows;
    TrainerHarness harness{llama_.folder(), comm_, options};
    const auto stats = harness->evaluate({.input_ids = fixture_sequences()});
    EXPECT_NEAR(stats.loss, 3.81656, kFirst) << rows;
    EXPECT_EQ(stats.num_tokens, 22);
    EXPECT_EQ(stats.num_samples, 4);
  }
}

TEST_F(Golden, Row19_OneUpdateACall) {
  for (const int num_ranks : {1, 2, 4}) {
    SCOPED_TRACE(std::to_string(num_ranks) + " ranks");
    on_ranks(num_ranks, [&](Communicator& comm) {
      expect_one_update_a_call(comm);
      return 0;
    });
  }
}

TEST_F(Golden, TwoUpdatesACall) {
  const std::vector<ExpectedUpdate> expected{{3.53693, 2.87599, .01},
                                       {3.72578, 2.04636, .0075},
                                       {3.26515, 1.68228, .005},
                                       {3.35885, 1.36163, .0025}};
  auto options = one_update_a_call();
  options.updates_per_step = "all";
  options.global_train_batch_size = 2;
  for (const int num_ranks : {1, 2, 4}) {
    SCOPED_TRACE(std::to_string(num_ranks) + " ranks");
    on_ranks(num_ranks, [&](Communicator& comm) {
      TrainerHarness harness{llama_.folder(), comm, options};
      for (std::size_t call = 0; call < 2; ++call) {
        const auto stats = harness->step({.input_ids = fixture_sequences()});
        EXPECT_EQ(stats.updates, 2);
        for (std::size_t i = 0; i < 2; ++i) {
          expect_update(stats.history.at(i), expected[2 * call + i], call == 0 && i == 0);
        }
        // The call's own loss is weighted by tokens over its updates: 12 and 10 of them.
        EXPECT_NEAR(stats.loss, (12 * stats.history[0].loss + 10 * stats.history[1].loss) / 22, 1e-12);
      }
      EXPECT_NEAR(sum_of_squares(harness.model()), 106.6432, kLater);
      return 0;
    });
  }
}

TEST_F(Golden, MicroBatchesChangeNothing) {
  for (const std::int64_t rows : {1, 2, 3, 4}) {
    auto options = one_update_a_call();
    options.per_device_train_batch_size = rows;
    const auto stats = first_step({.input_ids = fixture_sequences()}, options);
    EXPECT_NEAR(stats.loss, 3.81656, kFirst) << rows;
    EXPECT_NEAR(stats.grad_norm, 2.63377, kFirst) << rows;
  }
}

TEST_F(Golden, Row28_AccumulationChangesNothing) {
  std::vector<at::Tensor> expected;
  for (const std::int64_t accumulated : {1, 2, 4}) {
    auto options = one_update_a_call();
    options.updates_per_step = "all";
    options.per_device_train_batch_size = 4 / accumulated;
    options.gradient_accumulation_steps = accumulated;
    TrainerHarness harness{llama_.folder(), comm_, options};
    const auto stats = harness->step({.input_ids = fixture_sequences()});
    EXPECT_EQ(stats.updates, 1);
    EXPECT_NEAR(stats.loss, 3.81656, kFirst) << accumulated;
    EXPECT_NEAR(stats.grad_norm, 2.63377, kFirst) << accumulated;
    const auto weights = weights_of(harness.model());
    if (expected.empty()) expected = weights;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      EXPECT_LT(relative_distance(weights[i], expected[i]), 1e-5) << accumulated;
    }
  }
}

TEST_F(Golden, GradientCheckpointingChangesNothing) {
  auto options = one_update_a_call();
  options.per_device_train_batch_size = 2;
  TrainerHarness plain{llama_.folder(), comm_, options};
  options.gradient_checkpointing = true;
  TrainerHarness recomputing{llama_.folder(), comm_, options};
  for (int update = 0; update < 3; ++update) {
    const auto expected = plain->step({.input_ids = fixture_sequences()});
    const auto stats = recomputing->step({.input_ids = fixture_sequences()});
    EXPECT_EQ(stats.loss, expected.loss);
    EXPECT_EQ(stats.grad_norm, expected.grad_norm);
  }
  EXPECT_EQ(sum_of_squares(recomputing.model()), sum_of_squares(plain.model()));
}

TEST_F(Golden, PaddingChangesNothing) {
  for (const std::int64_t multiple : {1, 8, 64}) {
    const collators::PaddingCollator collator{/*pad_id=*/0, multiple};
    const auto stats = first_step({.input_ids = fixture_sequences()}, one_update_a_call(),
                                  {.collator = &collator});
    EXPECT_NEAR(stats.loss, 3.81656, kFirst) << multiple;
    EXPECT_NEAR(stats.grad_norm, 2.63377, kFirst) << multiple;
    EXPECT_EQ(stats.num_tokens, 22);
  }
}

TEST_F(Golden, Row13_TruncationKeepsTheChosenEnd) {
  for (const auto& [mode, loss] : {std::pair{"keep_end", 3.29018}, {"keep_start", 3.22312}}) {
    auto options = one_update_a_call();
    options.max_length = 4;
    options.truncation_mode = mode;
    const auto stats = first_step({.input_ids = {fixture_sequences()[0]}}, options);
    EXPECT_NEAR(stats.loss, loss, kFirst) << mode;
    EXPECT_EQ(stats.truncated, 1);
    EXPECT_EQ(stats.num_tokens, 3);
  }
}

TEST_F(Golden, TruncationDropsNoSample) {
  auto options = one_update_a_call();
  options.max_length = 3;
  auto sequences = fixture_sequences();
  sequences.push_back(sequences.front());
  const auto stats = first_step({.input_ids = sequences}, options);
  EXPECT_EQ(stats.num_samples, 5);
  EXPECT_EQ(stats.truncated, 4);  // one of them has three tokens
  EXPECT_EQ(stats.input_tokens, 15);
}

TEST_F(Golden, Row22_LabelsAreHonoured) {
  const auto ids = fixture_sequences()[0];
  auto labels = ids;
  std::fill_n(labels.begin(), 3, kIgnoredLabel);
  const auto stats = first_step({.input_ids = {ids}, .labels = {labels}});
  EXPECT_NEAR(stats.loss, 3.52710, kFirst);
  EXPECT_EQ(stats.num_tokens, 5);
}

TEST_F(Golden, Row09_LabelsAreTheIdsUnlessGiven) {
  const auto batch = first_two();
  const auto with = first_step({.input_ids = batch.input_ids, .labels = batch.input_ids});
  EXPECT_EQ(first_step(batch).loss, with.loss);
}

TEST_F(Golden, Row10_TheEndTokenIsLearntWhereItIsThePadTokenToo) {
  auto config = llama_config();
  config["pad_token_id"] = 2;
  const FixtureModel pad_is_eos{config};
  const collators::PaddingCollator collator{/*pad_id=*/2};
  const auto stats =
      first_step(first_two(), one_update_a_call(), {.collator = &collator}, pad_is_eos);
  EXPECT_NEAR(stats.loss, 3.53693, kFirst);  // 3.48234 over 10 without the end tokens
  EXPECT_EQ(stats.num_tokens, 12);
}

/// The first two sequences padded to `width` on one side with `pad`, masked.
Batch padded(std::size_t width, std::int64_t pad, bool left) {
  Batch batch;
  for (auto ids : first_two().input_ids) {
    TokenIds mask(ids.size(), 1);
    const auto missing = width - ids.size();
    ids.insert(left ? ids.begin() : ids.end(), missing, pad);
    mask.insert(left ? mask.begin() : mask.end(), missing, 0);
    batch.input_ids.push_back(ids);
    batch.attention_mask.push_back(mask);
  }
  return batch;
}

TEST_F(Golden, Row11_PaddingSideIsNeutral) {
  for (const bool left : {false, true}) {
    for (const std::int64_t pad : {0, 2}) {
      for (const std::size_t width : {8, 11}) {
        const auto stats = first_step(padded(width, pad, left));
        EXPECT_NEAR(stats.loss, 3.53693, kFirst) << left << pad;
        EXPECT_NEAR(stats.grad_norm, 2.87599, kFirst) << left << pad;
        EXPECT_EQ(stats.num_tokens, 12);
        EXPECT_EQ(stats.input_tokens, 14);
      }
    }
  }
}

TEST_F(Golden, PositionsDoNotCountPadding) {
  const FixtureModel gpt2{gpt2_config()};
  for (const bool left : {false, true}) {
    const auto stats = first_step(padded(11, 0, left), one_update_a_call(), {}, gpt2);
    EXPECT_NEAR(stats.loss, 4.22479, kFirst) << left;
  }
}

TEST_F(Golden, SamplesCountByTheirWeights) {
  TrainerHarness harness{llama_.folder(), comm_, one_update_a_call()};
  const Batch weighted{.input_ids = fixture_sequences(), .weights = {1.0, 0.5, 0.0, 2.0}};
  EXPECT_NEAR(harness->evaluate(weighted).loss, 3.91601, kFirst);
  const auto stats = first_step(weighted);
  EXPECT_NEAR(stats.loss, 3.91601, kFirst);
  EXPECT_EQ(stats.target_weight, 7 + 0.5 * 5 + 2 * 8);
}

TEST_F(Golden, LabelSmoothing) {
  auto options = one_update_a_call();
  options.label_smoothing_factor = 0.1;
  EXPECT_NEAR(first_step({.input_ids = {fixture_sequences()[0]}}, options).loss, 3.42915, kFirst);
}

TEST_F(Golden, Row30_NoClippingStillReportsTheNorm) {
  auto options = one_update_a_call();
  options.max_grad_norm = 0.0;
  TrainerHarness harness{llama_.folder(), comm_, options};
  const double before = sum_of_squares(harness.model());
  EXPECT_NEAR(harness->step({.input_ids = fixture_sequences()}).grad_norm, 2.63377, kFirst);
  EXPECT_GT(std::abs(sum_of_squares(harness.model()) - before), 1e-3);
}

class GoldenModel : public ::testing::TestWithParam<GoldenFamily> {
 protected:
  FixtureModel model_{GetParam().config()};
  distributed::LoopbackCommunicator comm_;
};

TEST_P(GoldenModel, DecayGroups) {
  const auto model = load_model(model_.folder());
  const auto all = model->parameters().all();
  const auto decayed = static_cast<std::size_t>(std::ranges::count_if(all, &Parameter::decayed));
  EXPECT_EQ(decayed, GetParam().num_decayed);
  EXPECT_EQ(all.size() - decayed, GetParam().num_undecayed);
}

TEST_P(GoldenModel, Logits) {
  const c10::NoGradGuard no_grad;
  const auto model = load_model(model_.folder());
  const collators::PackingCollator collator;
  distributed::LoopbackCommunicator comm;
  const auto rows =
      agreed_rows(comm, GetParam().batch(), row_rules_of(model->shape(), std::nullopt)).rows;
  const auto packed = unpad(collator.collate(std::span{rows}.first(1)), at::kFloat);
  auto logits = at::mm(PackedForward(*model, packed).hidden(), model->output_weight().t());
  // A decoder's start token stands before its target: transformers has no position for the last
  // label.
  if (model->shape().is_encoder_decoder) logits = logits.narrow(0, 0, logits.size(0) - 1);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(logits[0][static_cast<std::int64_t>(i)].item<double>(), GetParam().first_logits[i],
                kFirst);
  }
  EXPECT_NEAR(logits.square().sum().item<double>() / GetParam().sum_of_squared_logits, 1.0, kFirst);
}

TEST_P(GoldenModel, FourUpdatesOnAnyNumberOfRanks) {
  for (const int num_ranks : {1, 2, 4}) {
    SCOPED_TRACE(std::to_string(num_ranks) + " ranks");
    on_ranks(num_ranks, [&](Communicator& comm) {
      expect_golden_updates(GetParam(), comm);
      return 0;
    });
  }
}

TEST_P(GoldenModel, GreedyTogetherAndAlone) {
  auto model = load_model(model_.folder());
  std::vector<PromptTokens> prompts;
  for (const auto& ids : GetParam().prompts) {
    prompts.push_back({ids, static_cast<std::int64_t>(prompts.size())});
  }
  // One that shares the batch and is of another length.
  const PromptTokens other{{1, 6, 11}, static_cast<std::int64_t>(prompts.size())};
  prompts.push_back(other);
  const auto num_tokens = static_cast<std::int64_t>(GetParam().greedy.back().size());
  const GenerationOptions options{.do_sample = false, .max_new_tokens = num_tokens};
  const auto together = generate(*model, prompts, options, 0, 0);
  for (std::size_t i = 0; i < GetParam().greedy.size(); ++i) {
    const auto alone = generate(*model, std::span{prompts}.subspan(i, 1), options, 0, 0);
    EXPECT_EQ(together[i].ids, GetParam().greedy[i]);
    EXPECT_EQ(alone[0].ids, GetParam().greedy[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(Transformers, GoldenModel, ::testing::ValuesIn(golden_families()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace hone::testing

// Promises of TRL's trainer that no other suite has: docs/trainer.md counts them, all are tests
// Row*.
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "fakes/letter_tokenizer.hpp"
#include "hone/collators/seq2seq_collator.hpp"
#include "hone/core/error.hpp"
#include "hone/distributed/all_reduce_gradient_reducer.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/rank_threads.hpp"
#include "support/trainer_checks.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Pads, writes down the shapes it made, and adds positions and a tensor of its own.
class RecordingCollator final : public Collator {
 public:
  CollatedBatch collate(std::span<const TokenRow> rows) const override {
    auto batch = collators::PaddingCollator{/*pad_id=*/0}.collate(rows);
    shapes.push_back(batch.input_ids.sizes().vec());
    batch.position_ids = at::arange(batch.input_ids.size(1), at::kLong).expand_as(batch.input_ids);
    batch.extra["speaker"] = at::full(batch.input_ids.sizes(), 7, at::kLong);
    return batch;
  }
  mutable std::vector<std::vector<std::int64_t>> shapes;
};

class Promise : public ::testing::Test {
 protected:
  FixtureModel llama_{llama_config()};
  distributed::LoopbackCommunicator comm_;
  LetterTokenizer tokenizer_;
};

TEST_F(Promise, Row03_EveryArgumentMayBeLeftOut) {
  TrainerHarness harness{llama_.folder(), comm_, {}, {.tokenizer = &tokenizer_}};
  const auto stats = harness->step({.texts = {"abcdef"}});
  EXPECT_EQ(stats.updates, 1);
  EXPECT_TRUE(std::isfinite(stats.loss));
  EXPECT_EQ(stats.learning_rate, 5e-5);
}

TEST_F(Promise, Row05_NoPadTokenIsNeeded) {
  auto config = gpt2_config();
  config.erase("pad_token_id");
  const FixtureModel gpt2{config};
  const auto loss_of = [&](std::vector<std::string> texts) {
    TrainerHarness harness{gpt2.folder(), comm_, {}, {.tokenizer = &tokenizer_}};
    const auto stats = harness->evaluate({.texts = std::move(texts)});
    return std::pair{stats.loss, static_cast<double>(stats.num_tokens)};
  };
  const auto [together, targets] = loss_of({"abcdef", "gh", "i"});
  const auto [first, first_targets] = loss_of({"abcdef"});
  const auto [second, second_targets] = loss_of({"gh"});
  EXPECT_EQ(targets, 6);  // five and one; a single token predicts nothing
  EXPECT_NEAR(together, (first * first_targets + second * second_targets) / targets, 1e-6);
  TrainerHarness harness{gpt2.folder(), comm_, {}, {.tokenizer = &tokenizer_}};
  EXPECT_NEAR(harness->step({.texts = {"abcdef", "gh", "i"}}).loss, together, 1e-6);
}

TEST_F(Promise, Row06_ARateOfOnesOwnIsUsedOncePerUpdate) {
  for (const int ranks : {1, 2}) {
    const auto rates = on_ranks(ranks, [&](Communicator& comm) {
      TrainerHarness harness{llama_.folder(), comm, {.global_train_batch_size = 2},
                             {.learning_rate = [](std::int64_t step) { return 1e-3 / (1.0 + double(step)); }}};
      std::vector<double> used;
      for (const auto& update : harness->step({.input_ids = fixture_sequences()}).history) {
        used.push_back(update.learning_rate);
      }
      return used;
    });
    for (const auto& used : rates) EXPECT_THAT(used, ElementsAre(1e-3, 5e-4));
  }
  TrainerHarness bad{llama_.folder(), comm_, {}, {.learning_rate = [](auto) { return std::nan(""); }}};
  EXPECT_THROW(bad->step({.input_ids = fixture_sequences()}), ConfigError);
}

/// Another model, which keeps what it is given beside ids and positions.
class ListeningModel final : public LanguageModel {
 public:
  explicit ListeningModel(std::unique_ptr<LanguageModel> inner) : inner_(std::move(inner)) {}
  const ModelShape& shape() const override { return inner_->shape(); }
  ParameterStore& parameters() override { return inner_->parameters(); }
  const at::Tensor& output_weight() override { return inner_->output_weight(); }
  at::Tensor forward(const TokenInput& tokens, Attention& attention) override {
    heard = tokens.extra;
    positions = tokens.positions;
    return inner_->forward(tokens, attention);
  }
  ExtraTensors heard;
  at::Tensor positions;

 private:
  std::unique_ptr<LanguageModel> inner_;
};

TEST_F(Promise, Row07_TensorsOfOnesOwnReachTheModelWithoutPadding) {
  struct Speakers final : Collator {
    CollatedBatch collate(std::span<const TokenRow> rows) const override {
      auto batch = collators::PaddingCollator{/*pad_id=*/0}.collate(rows);
      const auto width = batch.input_ids.size(1);
      batch.extra["speaker"] = at::arange(batch.input_ids.numel(), at::kLong).view_as(batch.input_ids);
      batch.position_ids = at::arange(5, 5 + width, at::kLong).expand_as(batch.input_ids);
      return batch;
    }
  };
  ListeningModel model{load_model(llama_.folder())};
  distributed::AllReduceGradientReducer reducer{comm_};
  const Speakers collator;
  NullLogger log;
  Trainer trainer{{.model = model, .communicator = comm_, .reducer = reducer, .collator = collator, .log = log,
                   .optimizer = nullptr},
                  {.shuffle_dataset = false}};
  trainer.step({.input_ids = {{3, 4}, {5, 6, 7}}});
  const auto longest_first = model.positions[2].item<std::int64_t>() == 7;
  const auto speakers = longest_first ? at::tensor({0, 1, 2, 3, 4}, at::kLong) : at::tensor({0, 1, 3, 4, 5}, at::kLong);
  const auto positions = longest_first ? at::tensor({5, 6, 7, 5, 6}, at::kLong) : at::tensor({5, 6, 5, 6, 7}, at::kLong);
  EXPECT_TRUE(model.heard.at("speaker").equal(speakers)) << model.heard.at("speaker");
  EXPECT_TRUE(model.positions.equal(positions)) << model.positions;
}

TEST_F(Promise, Row07_ACollatorOfOnesOwnIsCalledPerMicroBatch) {
  const RecordingCollator collator;
  TrainerHarness harness{llama_.folder(), comm_,
                         {.per_device_train_batch_size = 1, .updates_per_step = "one", .shuffle_dataset = false},
                         {.collator = &collator}};
  const auto all = fixture_sequences();
  const auto stats = harness->step({.input_ids = {all[2], all[3]}});
  EXPECT_THAT(collator.shapes, ElementsAre(ElementsAre(1, 3), ElementsAre(1, 9)));
  EXPECT_NEAR(stats.loss, (8.13652 + 33.38469) / 10, 1e-5);
}

TEST_F(Promise, Row12_EvaluationSetsMayBeTexts) {
  TrainerHarness harness{llama_.folder(), comm_,
                         {.eval_strategy = "steps", .eval_steps = 1},
                         {.tokenizer = &tokenizer_,
                          .eval_sets = {{"short", {.texts = {"ab", "cd"}}},
                                        {"pairs", {.texts = {"ab"}, .texts_labels = {"xy"}}}}}};
  const auto before = harness->evaluate();
  EXPECT_EQ(before[0].num_tokens, 2);
  EXPECT_EQ(before[1].num_tokens, 3) << "the label and the end token";
  const auto expected = harness->evaluate({.input_ids = {{3, 4}, {5, 6}}});
  EXPECT_EQ(before[0].loss, expected.loss);
  const auto stats = harness->step({.texts = {"abcdef"}});
  const auto has = [&](const std::string& key) {
    return std::ranges::any_of(stats.eval, [&](const auto& figure) { return figure.first == key; });
  };
  EXPECT_TRUE(has("eval_short_loss") && has("eval_pairs_loss"));
}

/// What a collator of one's own may get wrong, on the last rank only.
struct WrongCollator final : Collator {
  CollatedBatch collate(std::span<const TokenRow> rows) const override {
    auto batch = collators::PackingCollator{}.collate(rows);
    if (wrong) wrong(batch);
    return batch;
  }
  std::function<void(CollatedBatch&)> wrong;
};

TEST_F(Promise, Row07_WhatACollatorGetsWrongOnOneRankIsAnErrorOnAll) {
  const std::vector<std::pair<std::function<void(CollatedBatch&)>, std::string>> cases{
      {[](CollatedBatch&) { throw std::runtime_error{"out of ideas"}; }, "out of ideas"},
      {[](CollatedBatch& batch) { batch.input_ids[0][1] = 37; }, "input_ids hold 37, outside the vocabulary of 37"},
      {[](CollatedBatch& batch) { batch.labels[0][1] = -7; }, "labels hold -7"},
      {[](CollatedBatch& batch) { batch.input_ids = batch.input_ids.to(at::kInt); }, "input_ids must be (B, T) int64"},
      {[](CollatedBatch& batch) { batch.labels.reset(); }, "labels must be"},
      {[](CollatedBatch& batch) { batch.weights = at::full(batch.input_ids.sizes(), -1.0, at::kDouble); },
       "weights hold -1"}};
  for (const auto& [wrong, expected] : cases) {
    const auto messages = on_ranks(2, [&](Communicator& comm) {
      WrongCollator collator;
      TrainerHarness harness{llama_.folder(), comm, {.global_train_batch_size = 2}, {.collator = &collator}};
      if (comm.rank() == 1) collator.wrong = wrong;
      std::vector<std::string> messages;
      const auto catch_into = [&](const auto& work) {
        try {
          work();
        } catch (const Error& error) {
          messages.push_back(error.what());
        }
      };
      catch_into([&] { harness->step({.input_ids = fixture_sequences()}); });
      catch_into([&] { harness->evaluate({.input_ids = fixture_sequences()}); });
      collator.wrong = nullptr;
      EXPECT_EQ(harness->state().global_step, 0);
      EXPECT_EQ(harness->step({.input_ids = fixture_sequences()}).updates, 2) << "usable afterwards";
      return messages;
    });
    EXPECT_THAT(messages[0], ElementsAre(HasSubstr(expected), HasSubstr(expected)));
    EXPECT_EQ(messages[1], messages[0]);
  }
}

TEST_F(Promise, ACollatorThatDropsSourcesIsFound) {
  const FixtureModel t5{t5_config()};
  const collators::PaddingCollator collator{/*pad_id=*/0};
  TrainerHarness harness{t5.folder(), comm_, {}, {.collator = &collator}};
  EXPECT_THROW(harness->step({.input_ids = {{3, 4}}, .labels = {{5, 1}}}), InputError);
}

TEST_F(Promise, Row17_FreeingCachesIsEachTrainersOwnAndChangesNothing) {
  TrainerHarness freeing{llama_.folder(), comm_, {.optimize_device_cache = true}};
  TrainerHarness keeping{llama_.folder(), comm_, {}};
  EXPECT_TRUE(freeing->options().optimize_device_cache);
  EXPECT_FALSE(keeping->options().optimize_device_cache);
  for (int call = 0; call < 2; ++call) {
    const auto expected = keeping->step({.input_ids = fixture_sequences()});
    EXPECT_EQ(freeing->step({.input_ids = fixture_sequences()}).loss, expected.loss);
  }
  EXPECT_TRUE(same_weights(weights_of(freeing.model()), weights_of(keeping.model())));
}

TEST_F(Promise, Row24_TheLabelsOfAnEncoderDecoderAreTheTargetsText) {
  const FixtureModel t5{t5_config()};
  TrainerHarness by_text{t5.folder(), comm_, {}, {.tokenizer = &tokenizer_}};
  TrainerHarness by_ids{t5.folder(), comm_, {}};
  const auto stats = by_text->step({.texts = {"abc"}, .texts_labels = {"xy"}});
  const auto expected = by_ids->step({.input_ids = {{3, 4, 5}}, .labels = {{26, 27, 2}}});
  EXPECT_EQ(stats.num_tokens, 3);
  EXPECT_EQ(stats.loss, expected.loss);
  TrainerHarness by_prose{t5.folder(), comm_, {}, {.tokenizer = &tokenizer_}};
  EXPECT_EQ(by_prose->step({.texts = {"abc"}, .text_labels = {"xy"}}).loss, expected.loss);
  EXPECT_THROW(by_prose->step({.texts = {"abc"}, .texts_labels = {"xy"}, .text_labels = {"xy"}}), InputError);
}

TEST_F(Promise, Row23_ATextThatTheModelDoesNotKnowIsNamedBeforeAnythingChanges) {
  TrainerHarness harness{llama_.folder(), comm_, {.global_train_batch_size = 1}, {.tokenizer = &tokenizer_}};
  EXPECT_THAT([&] { harness->step({.texts = {"abc", "def", "aAz"}}); },
              ::testing::ThrowsMessage<InputError>(
                  AllOf(HasSubstr("texts[2]"), HasSubstr("outside the model's vocabulary of 37"))));
  EXPECT_EQ(harness->state().global_step, 0);
}

TEST_F(Promise, Row25_AnEncoderDecoderWithoutLabelsIsAnErrorOnAllRanks) {
  const FixtureModel t5{t5_config()};
  const std::vector<Batch> bad{{.input_ids = {{3, 4}}}, {.texts = {"ab"}}};
  for (const auto& batch : bad) {
    const auto messages = on_ranks(2, [&](Communicator& comm) -> std::string {
      TrainerHarness harness{t5.folder(), comm, {}, {.tokenizer = &tokenizer_}};
      std::string message;
      try {
        harness->step(batch);
      } catch (const InputError& error) {
        message = error.what();
      }
      // Still usable.
      EXPECT_EQ(harness->step({.input_ids = {{3, 4}}, .labels = {{5, 1}}}).updates, 1);
      return message;
    });
    EXPECT_THAT(messages[0], AllOf(HasSubstr("encoder-decoder"), HasSubstr("labels are missing")));
    EXPECT_EQ(messages[1], messages[0]);
  }
}

TEST_F(Promise, Row27_EverySampleIsTrainedOnOneRank) {
  /// The samples that a collator saw, by their first token.
  struct Seen final : Collator {
    CollatedBatch collate(std::span<const TokenRow> rows) const override {
      for (const auto& row : rows) firsts.push_back(row.ids[0]);
      return collators::PackingCollator{}.collate(rows);
    }
    mutable std::vector<std::int64_t> firsts;
  };
  Batch batch;
  for (std::int64_t i = 0; i < 8; ++i) batch.input_ids.push_back({10 + i, 3, 4});
  const auto seen = on_ranks(2, [&](Communicator& comm) {
    const Seen collator;
    TrainerHarness harness{llama_.folder(), comm, {.per_device_train_batch_size = 2}, {.collator = &collator}};
    EXPECT_EQ(harness->step(batch).updates, 2);
    return collator.firsts;
  });
  std::vector<std::int64_t> all = seen[0];
  all.insert(all.end(), seen[1].begin(), seen[1].end());
  std::sort(all.begin(), all.end());
  EXPECT_THAT(all, ElementsAre(10, 11, 12, 13, 14, 15, 16, 17));
  EXPECT_EQ(seen[0].size(), 4U);
}

TEST_F(Promise, Row29_StepsAreUpdatesNotMicroBatches) {
  TrainerHarness harness{llama_.folder(), comm_,
                         {.per_device_train_batch_size = 1, .gradient_accumulation_steps = 4}};
  Batch batch;
  for (int i = 0; i < 16; ++i) batch.input_ids.push_back(fixture_sequences()[i % 4]);
  harness->step(batch);
  EXPECT_EQ(harness->state().global_step, 4);
}

TEST_F(Promise, Row31_PastTheEndNoScheduleRises) {
  const LrSchedule cosine{.kind = ScheduleKind::Cosine, .learning_rate = 1e-3, .warmup_steps = 2, .max_steps = 6};
  for (std::int64_t step = 6; step < 20; ++step) EXPECT_EQ(cosine.at(step), 0.0);
  TrainerHarness harness{llama_.folder(), comm_,
                         {.updates_per_step = "one", .lr_scheduler_type = "cosine", .max_steps = 2}};
  for (int call = 0; call < 2; ++call) harness->step({.input_ids = fixture_sequences()});
  const auto weights = weights_of(harness.model());
  for (int call = 0; call < 2; ++call) {
    EXPECT_EQ(harness->step({.input_ids = fixture_sequences()}).updates, 0);
  }
  EXPECT_TRUE(same_weights(weights_of(harness.model()), weights));
  EXPECT_THAT(harness.log().warnings, ElementsAre(HasSubstr("train nothing"))) << "once";
}

TEST_F(Promise, Row31_PastTheEndARunGoesOnOrFailsWhereAsked) {
  TrainerOptions options{.updates_per_step = "one",
                         .lr_scheduler_type = "cosine_with_min_lr",
                         .lr_shape = {.min_lr_ratio = 0.1},
                         .max_steps = 2,
                         .past_max_steps = "hold"};
  TrainerHarness holding{llama_.folder(), comm_, options};
  for (int call = 0; call < 2; ++call) holding->step({.input_ids = fixture_sequences()});
  for (int call = 0; call < 3; ++call) {
    EXPECT_FALSE(holding->done());
    const auto stats = holding->step({.input_ids = fixture_sequences()});
    EXPECT_EQ(stats.updates, 1);
    EXPECT_NEAR(stats.learning_rate, 0.1 * options.learning_rate, 1e-12);
  }
  EXPECT_THAT(holding.log().warnings, ElementsAre(HasSubstr("goes on at the rate that the schedule has there")));

  options.past_max_steps = "error";
  TrainerHarness failing{llama_.folder(), comm_, options};
  for (int call = 0; call < 2; ++call) failing->step({.input_ids = fixture_sequences()});
  EXPECT_THROW(failing->step({.input_ids = fixture_sequences()}), ConfigError);
}

TEST_F(Promise, EvaluationOfAnEncoderDecoderShowsPredictionsAtTheirLabels) {
  const FixtureModel t5{t5_config()};
  EvalPrediction got;
  const EvalHooks hooks{.compute_metrics = [&](const EvalPrediction& prediction) {
    got = prediction;
    return Metrics{{"acc", 1.0}};
  }};
  TrainerHarness harness{t5.folder(), comm_, {}, {.eval_hooks = hooks}};
  const auto source = fixture_sequences()[0];
  const PromptTokens prompt{source, 0};
  const auto greedy = harness->generate(std::span{&prompt, 1}, {.do_sample = false, .max_new_tokens = 3})[0].ids;
  // Labelled with what it says by itself, the model predicts each label where transformers shows
  // it.
  harness->evaluate({.input_ids = {source, source}, .labels = {greedy, {greedy[0]}}});
  EXPECT_EQ(got.label_ids.sizes(), (at::IntArrayRef{2, 3}));
  EXPECT_TRUE(got.predictions.equal(got.label_ids)) << got.predictions << got.label_ids;
}

}  // namespace
}  // namespace hone::testing

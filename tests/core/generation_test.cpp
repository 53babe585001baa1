// Completions depend on who they are, not on where, when and with whom they are made.
#include <ATen/TensorOperators.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "hone/core/error.hpp"
#include "hone/core/training/packed_forward.hpp"
#include "hone/core/training/row_rules.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/rank_threads.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

/// Ids of every completion by prompt and k.
using Samples = std::map<std::pair<std::int64_t, std::int64_t>, TokenIds>;

Samples samples_of(const std::vector<Completion>& completions) {
  Samples samples;
  for (const auto& completion : completions) {
    samples[{completion.prompt_index, completion.k}] = completion.ids;
  }
  return samples;
}

/// Prompts of 1 to 30 tokens, numbered from 10.
std::vector<PromptTokens> make_prompts(std::int64_t count) {
  std::vector<PromptTokens> prompts;
  for (auto& ids : ragged_sequences(count, 30, 31)) {
    const auto index = 10 + static_cast<std::int64_t>(prompts.size());
    prompts.push_back({std::move(ids), index});
  }
  prompts[1].ids.resize(1);
  return prompts;
}

constexpr std::int64_t kSeed = 42, kCall = 3;

/// A family and what its numbers are: float32 has loops of our own for decoding, float64 takes
/// LibTorch's operators, as GPUs do.
struct Kind {
  const char* family;
  at::ScalarType dtype = at::kFloat;
};

std::string name_of(const ::testing::TestParamInfo<Kind>& info) {
  return std::string{info.param.family} + (info.param.dtype == at::kFloat ? "" : c10::toString(info.param.dtype));
}

/// Notes how many tokens each forward is given.
class CountedModel final : public LanguageModel {
 public:
  explicit CountedModel(LanguageModel& model) : model_(model) {}

  const ModelShape& shape() const override { return model_.shape(); }
  ParameterStore& parameters() override { return model_.parameters(); }
  const at::Tensor& output_weight() override { return model_.output_weight(); }
  at::Tensor forward(const TokenInput& tokens, Attention& attention) override {
    counts.push_back(tokens.ids.size(0));
    return model_.forward(tokens, attention);
  }

  std::vector<std::int64_t> counts;

 private:
  LanguageModel& model_;
};

class Generation : public ::testing::TestWithParam<Kind> {
 protected:
  Generation()
      : folder_(config_named(GetParam().family), Fill::Random, /*seed=*/8),
        model_(load_model(folder_.folder(), {.dtype = GetParam().dtype})) {}

  /// What a completion is said to be as likely as, against the forward that trains it.
  void expect_log_probs(const GenerationOptions& options, double tolerance) {
    const auto prompts = make_prompts(4);
    for (const auto& completion : run(prompts, options)) {
      const auto& prompt = prompts[static_cast<std::size_t>(completion.prompt_index - 10)];
      const auto expected = log_probs_by_forward(prompt, completion);
      ASSERT_EQ(completion.log_probs.size(), expected.size());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(completion.log_probs[i], expected[i], tolerance);
      }
    }
  }

  std::vector<Completion> run(std::span<const PromptTokens> prompts, GenerationOptions options,
                              std::uint64_t seed = kSeed, std::uint64_t call = kCall) {
    return generate(*model_, prompts, options, seed, call);
  }

  /// Log-probability of each token of `completion` by the forward that trains it.
  std::vector<double> log_probs_by_forward(const PromptTokens& prompt,
                                           const Completion& completion) {
    const c10::NoGradGuard no_grad;
    Batch batch{.input_ids = {prompt.ids}, .labels = {completion.ids}};
    if (!model_->shape().is_encoder_decoder) {
      batch.input_ids[0].insert(batch.input_ids[0].end(), completion.ids.begin(), completion.ids.end());
      batch.labels[0].insert(batch.labels[0].begin(), prompt.ids.size(), kIgnoredLabel);
    }
    distributed::LoopbackCommunicator comm;
    const auto rows = agreed_rows(comm, batch, row_rules_of(model_->shape(), std::nullopt)).rows;
    const auto packed = unpad(collators::PackingCollator{}.collate(rows), GetParam().dtype);
    const PackedForward forward{*model_, packed};
    const auto predicting = at::index_select(forward.hidden(), 0, packed.predictors);
    const auto all =
        at::log_softmax(at::mm(predicting, model_->output_weight().t()).to(at::kDouble), 1);
    std::vector<double> log_probs;
    for (std::size_t i = 0; i < completion.ids.size(); ++i) {
      log_probs.push_back(all[static_cast<std::int64_t>(i)][completion.ids[i]].item<double>());
    }
    return log_probs;
  }

  FixtureModel folder_;
  std::unique_ptr<LanguageModel> model_;
  const GenerationOptions sampling_{.num_return_sequences = 3, .max_new_tokens = 20};
};

TEST_P(Generation, ResultsComeByPromptThenK) {
  const auto prompts = make_prompts(5);
  auto options = sampling_;
  options.batch_size = 4;
  const auto completions = run(prompts, options);
  ASSERT_EQ(completions.size(), 15U);
  for (std::size_t i = 0; i < completions.size(); ++i) {
    EXPECT_EQ(completions[i].prompt_index, prompts[i / 3].index);
    EXPECT_EQ(completions[i].k, static_cast<std::int64_t>(i % 3));
    EXPECT_FALSE(completions[i].ids.empty());
    EXPECT_EQ(completions[i].log_probs.size(), completions[i].ids.size());
  }
}

TEST_P(Generation, TheBatchSizeChangesNothing) {
  const auto prompts = make_prompts(9);
  const auto expected = samples_of(run(prompts, sampling_));
  // 1 and 2 are fewer than the samples of one prompt.
  for (const std::int64_t rows : {1, 2, 3, 7, 27}) {
    auto options = sampling_;
    options.batch_size = rows;
    EXPECT_EQ(samples_of(run(prompts, options)), expected) << rows;
  }
}

TEST_P(Generation, AloneIsAsTogether) {
  const auto prompts = make_prompts(6);
  const auto expected = samples_of(run(prompts, sampling_));
  Samples alone;
  for (const auto& prompt : prompts) alone.merge(samples_of(run({&prompt, 1}, sampling_)));
  EXPECT_EQ(alone, expected);
}

TEST_P(Generation, FilteredSamplingIsAsIndependent) {
  const auto prompts = make_prompts(6);
  GenerationOptions options{.num_return_sequences = 2,
                            .max_new_tokens = 12,
                            .temperature = 0.7,
                            .top_k = 9,
                            .top_p = 0.9};
  const auto expected = samples_of(run(prompts, options));
  EXPECT_NE(expected, samples_of(run(prompts, {.num_return_sequences = 2, .max_new_tokens = 12})));
  options.batch_size = 2;
  EXPECT_EQ(samples_of(run(prompts, options)), expected);
}

TEST_P(Generation, TopOneIsGreedy) {
  const auto prompts = make_prompts(6);
  EXPECT_EQ(samples_of(run(prompts, {.max_new_tokens = 12, .top_k = 1})),
            samples_of(run(prompts, {.do_sample = false, .max_new_tokens = 12})));
}

TEST_P(Generation, SeedCallPromptAndKEachGiveOtherNumbers) {
  const PromptTokens prompt{{1, 5, 9}, 4}, same_text{{1, 5, 9}, 5};
  const auto completions = run({&prompt, 1}, sampling_);
  EXPECT_NE(completions[0].ids, completions[1].ids);
  EXPECT_NE(completions[0].ids, completions[2].ids);
  EXPECT_NE(run({&same_text, 1}, sampling_)[0].ids, completions[0].ids);
  EXPECT_NE(run({&prompt, 1}, sampling_, kSeed + 1)[0].ids, completions[0].ids);
  EXPECT_NE(run({&prompt, 1}, sampling_, kSeed, kCall + 1)[0].ids, completions[0].ids);
  EXPECT_EQ(run({&prompt, 1}, sampling_)[0].ids, completions[0].ids);
}

TEST_P(Generation, TokensComeAsOftenAsTheModelSays) {
  // The first token of many samples of one prompt, against the model's own probabilities.
  constexpr std::int64_t kSamples = 20'000;
  const PromptTokens prompt{{1, 5, 9}, 0};
  const auto completions = run({&prompt, 1}, {.num_return_sequences = kSamples,
                                              .max_new_tokens = 1,
                                              .batch_size = kSamples});
  std::map<std::int64_t, double> counts, probabilities;
  for (const auto& completion : completions) {
    ++counts[completion.ids[0]];
    probabilities[completion.ids[0]] = std::exp(completion.log_probs[0]);
  }
  double chi_squared = 0.0;
  for (const auto& [token, probability] : probabilities) {
    const double expected = probability * kSamples;
    chi_squared += (counts[token] - expected) * (counts[token] - expected) / expected;
  }
  EXPECT_EQ(counts.size(), 37U);
  EXPECT_LT(chi_squared, 80.0);  // 36 degrees of freedom: above with a chance of 4e-5
}

TEST_P(Generation, RanksShareThePromptsAndSampleAsOneDoes) {
  const auto prompts = make_prompts(7);
  const auto expected = samples_of(run(prompts, sampling_));
  for (const int ranks : {1, 2, 3}) {
    const auto shares = on_ranks(ranks, [&](Communicator& comm) {
      const auto model = load_model(folder_.folder());
      return generate_share(*model, comm, Sharding::of_ranks(comm), nullptr, prompts, sampling_, kSeed, kCall);
    });
    Samples joined;
    std::size_t count = 0;
    for (const auto& share : shares) {
      EXPECT_FALSE(share.empty());
      count += share.size();
      joined.merge(samples_of(share));
    }
    EXPECT_EQ(count, expected.size()) << "a sample was made twice";
    EXPECT_EQ(joined, expected) << ranks << " ranks";
  }
}

TEST_P(Generation, MoreRanksThanPromptsLeavesSomeIdle) {
  const auto prompts = make_prompts(2);
  const auto shares = on_ranks(3, [&](Communicator& comm) {
    const auto model = load_model(folder_.folder());
    return generate_share(*model, comm, Sharding::of_ranks(comm), nullptr, prompts, sampling_, kSeed, kCall).size();
  });
  EXPECT_EQ(shares[0] + shares[1] + shares[2], 6U);
}

TEST_P(Generation, LogProbsAreThoseOfTheTrainingForward) {
  // Under the model itself, whatever the sampling distribution was.
  expect_log_probs(sampling_, 1e-4);
  expect_log_probs({.num_return_sequences = 2,
                    .max_new_tokens = 20,
                    .temperature = 0.6,
                    .top_k = 5,
                    .top_p = 0.8},
                   1e-4);
}

class GenerationInBFloat16 : public Generation {};

TEST_P(GenerationInBFloat16, LogProbsAreNearThoseOfTheTrainingForward) {
  expect_log_probs(sampling_, 5e-2);
}
TEST(Decoding, SamplesOfAPromptShareItsPrefill) {
  const FixtureModel folder{config_named("llama"), Fill::Random, /*seed=*/8};
  const auto model = load_model(folder.folder());
  CountedModel counted{*model};
  const std::vector<PromptTokens> prompts{{{1, 5, 9, 13, 17}, 0}, {{1, 6, 11}, 1}};
  const auto completions = generate(
      counted, prompts, {.num_return_sequences = 3, .max_new_tokens = 4, .batch_size = 6}, kSeed, kCall);
  EXPECT_EQ(completions.size(), 6U);
  ASSERT_FALSE(counted.counts.empty());
  EXPECT_EQ(counted.counts.front(), 5 + 3) << "each prompt once";
  for (std::size_t i = 1; i < counted.counts.size(); ++i) EXPECT_LE(counted.counts[i], 6);
}

INSTANTIATE_TEST_SUITE_P(Models, GenerationInBFloat16,
                         ::testing::Values(Kind{"llama", at::kBFloat16}, Kind{"t5", at::kBFloat16}),
                         name_of);

TEST_P(Generation, TheEndTokenEndsASampleAndStaysInIt) {
  GenerationOptions options{.num_return_sequences = 20, .max_new_tokens = 30, .batch_size = 50};
  std::set<FinishReason> seen;
  const auto eos = model_->shape().eos_ids.at(0);
  for (const auto& completion : run(make_prompts(6), options)) {
    seen.insert(completion.finish_reason);
    const auto ends = std::ranges::count(completion.ids, eos);
    if (completion.finish_reason == FinishReason::Eos) {
      EXPECT_EQ(completion.ids.back(), eos);
      EXPECT_EQ(ends, 1);
    } else {
      EXPECT_EQ(completion.ids.size(), 30U);
      EXPECT_EQ(ends, 0);
    }
  }
  EXPECT_EQ(seen.size(), 2U) << "the samples must show both ends";
}

TEST_P(Generation, RefusesPromptsThatDoNotFit) {
  const PromptTokens none{{}, 3}, full{TokenIds(45, 5), 4};
  EXPECT_THROW(run({&none, 1}, {}), InputError);
  if (model_->shape().is_encoder_decoder) return;  // its positions are relative: no prompt is too long
  EXPECT_NO_THROW(run({&full, 1}, {.max_new_tokens = 19}));
  try {
    run({&full, 1}, {.max_new_tokens = 20});
    FAIL() << "65 tokens fit 64 positions";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("prompt 4 has 45 tokens"));
  }
}

TEST_P(Generation, ABadPromptOfOneShareIsThrownOnAllRanks) {
  auto prompts = make_prompts(6);
  prompts[3].ids.clear();
  const auto messages = on_ranks(3, [&](Communicator& comm) {
    const auto model = load_model(folder_.folder());
    try {
      generate_share(*model, comm, Sharding::of_ranks(comm), nullptr, prompts, sampling_, kSeed, kCall);
    } catch (const InputError& error) {
      return std::string{error.what()};
    }
    return std::string{};
  });
  EXPECT_THAT(messages[0], HasSubstr("prompt 13 has no tokens"));
  EXPECT_THAT(messages, Each(messages[0]));
}

TEST_P(Generation, Row14_RefusesOptionsThatDoNotFit) {
  const PromptTokens prompt{{1, 5}, 0};
  for (const GenerationOptions& bad :
       {GenerationOptions{.do_sample = false, .num_return_sequences = 2},
        GenerationOptions{.num_return_sequences = 0}, GenerationOptions{.max_new_tokens = 0},
        GenerationOptions{.temperature = 0.0}, GenerationOptions{.top_k = -1},
        GenerationOptions{.top_p = 0.0}, GenerationOptions{.top_p = 1.5},
        GenerationOptions{.batch_size = 0}}) {
    EXPECT_THROW(run({&prompt, 1}, bad), ConfigError);
  }
}

TEST_P(Generation, NoPromptsGiveNoCompletions) { EXPECT_TRUE(run({}, sampling_).empty()); }

TEST_P(Generation, Row01_UsesTheWeightsThatAreBeingTrained) {
  const auto prompts = make_prompts(6);
  const GenerationOptions greedy{.do_sample = false, .max_new_tokens = 12};
  for (const double rate : {0.0, 0.05}) {
    on_ranks(2, [&](Communicator& comm) {
      TrainerHarness harness{folder_.folder(), comm, {.learning_rate = rate}, {.dtype = GetParam().dtype}};
      const auto before = samples_of(harness->generate(prompts, greedy));
      harness->step({.input_ids = ragged_sequences(8, 30, 1), .labels = ragged_sequences(8, 30, 1)});
      const auto after = samples_of(harness->generate(prompts, greedy));
      EXPECT_EQ(before == after, rate == 0.0);
      return 0;
    });
  }
}

TEST_P(Generation, EveryCallSamplesAnewAndGreedyOnesDoNotCount) {
  distributed::LoopbackCommunicator comm;
  const TrainerHarness::Extras extras{.dtype = GetParam().dtype};
  TrainerHarness harness{folder_.folder(), comm, {}, extras}, other{folder_.folder(), comm, {}, extras};
  const auto prompts = make_prompts(3);
  const auto first = samples_of(harness->generate(prompts, sampling_));
  harness->generate(prompts, {.do_sample = false});
  const auto second = samples_of(harness->generate(prompts, sampling_));
  EXPECT_NE(first, second);
  EXPECT_EQ(samples_of(other->generate(prompts, sampling_)), first);
  EXPECT_EQ(samples_of(other->generate(prompts, sampling_)), second);
}

INSTANTIATE_TEST_SUITE_P(Models, Generation, ::testing::Values(Kind{"llama"}, Kind{"gpt2"}, Kind{"t5"},
                                           Kind{"llama", at::kDouble}, Kind{"t5", at::kDouble}),
                         name_of);

}  // namespace
}  // namespace hone::testing

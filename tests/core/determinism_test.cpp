// full_determinism: the same bits on 1, 2 and 4 ranks.
#include <gtest/gtest.h>

#include "hone/core/error.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/rank_threads.hpp"
#include "support/split_training.hpp"
#include "support/trainer_checks.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

/// What a run leaves, as one rank sees it.
struct Outcome {
  std::vector<at::Tensor> weights;
  std::vector<double> losses, norms;
  double eval_loss = 0.0;
  std::vector<TokenIds> pool;  ///< of all ranks, by (prompt, k)
};

class FullDeterminism : public ::testing::TestWithParam<const char*> {
 protected:
  Outcome run_on(int num_ranks, bool deterministic, at::ScalarType dtype = at::kFloat) {
    return on_ranks(num_ranks, [&](Communicator& comm) { return outcome_of(comm, deterministic, dtype); })[0];
  }

  Outcome outcome_of(Communicator& comm, bool deterministic, at::ScalarType dtype) {
    TrainerHarness harness{model_.folder(), comm,
                           {.per_device_train_batch_size = 2,
                            .global_train_batch_size = 7,
                            .learning_rate = 1e-2,
                            .full_determinism = deterministic},
                           {.dtype = dtype, .deterministic = deterministic}};
    const Batch batch{.input_ids = ragged_sequences(11, 40, 21), .labels = ragged_sequences(11, 40, 21)};
    Outcome result;
    for (int call = 0; call < 3; ++call) {
      for (const auto& update : harness->step(batch).history) {
        result.losses.push_back(update.loss);
        result.norms.push_back(update.grad_norm);
      }
      add_samples(comm, harness, result);
    }
    result.eval_loss = harness->evaluate(batch).loss;
    result.weights = weights_of(harness.model());
    return result;
  }

  static void add_samples(Communicator& comm, TrainerHarness& harness, Outcome& result) {
    std::vector<PromptTokens> prompts;
    for (const auto& ids : ragged_sequences(6, 12, 5)) {
      prompts.push_back({ids, static_cast<std::int64_t>(prompts.size())});
    }
    const GenerationOptions options{.num_return_sequences = 3, .max_new_tokens = 10};
    std::vector<TokenIds> pool(prompts.size() * 3);
    std::string mine;
    for (const auto& sample : harness->generate(prompts, options)) {
      mine += std::to_string(sample.prompt_index * 3 + sample.k);
      for (const auto id : sample.ids) mine += ' ' + std::to_string(id);
      mine += '\n';
    }
    for (const auto& text : all_gather_strings(comm, mine)) {
      std::istringstream lines{text};
      for (std::string line; std::getline(lines, line);) {
        std::istringstream words{line};
        std::size_t place = 0;
        words >> place;
        for (std::int64_t id = 0; words >> id;) pool[place].push_back(id);
      }
    }
    result.pool.insert(result.pool.end(), pool.begin(), pool.end());
  }

  FixtureModel model_{config_named(GetParam()), Fill::Random, 3};
};

void expect_same_bits(const Outcome& got, const Outcome& expected) {
  EXPECT_EQ(got.losses, expected.losses);
  EXPECT_EQ(got.norms, expected.norms);
  EXPECT_EQ(got.eval_loss, expected.eval_loss);
  EXPECT_EQ(got.pool, expected.pool);
  EXPECT_TRUE(same_weights(got.weights, expected.weights));
}

TEST_P(FullDeterminism, GivesTheSameBitsOnOneTwoAndFourRanks) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const auto alone = run_on(1, true, dtype);
    ASSERT_EQ(alone.losses.size(), 6U);
    expect_same_bits(run_on(2, true, dtype), alone);
    expect_same_bits(run_on(4, true, dtype), alone);
  }
}

/// Without it the sums are rounded in another order: else the test above would show nothing.
TEST_P(FullDeterminism, IsWhatMakesThemTheSame) {
  EXPECT_FALSE(same_weights(run_on(1, false).weights, run_on(4, false).weights));
}

INSTANTIATE_TEST_SUITE_P(Models, FullDeterminism,
                         ::testing::Values("llama", "gpt2_dropout", "t5_dropout"),
                         [](const auto& info) { return std::string{info.param}; });

TEST(FullDeterminismConditions, AreCheckedOnEveryRank) {
  const FixtureModel model{llama_config()};
  const auto refusal = [&](int num_ranks, bool deterministic_reducer) {
    return on_ranks(num_ranks, [&](Communicator& comm) -> std::string {
      try {
        TrainerHarness{model.folder(), comm, {.full_determinism = true},
                       {.deterministic = deterministic_reducer}};
      } catch (const ConfigError& error) {
        return error.what();
      }
      return "";
    });
  };
  for (const auto& text : refusal(3, true)) EXPECT_NE(text.find("1, 2 or 4 ranks"), text.npos) << text;
  for (const auto& text : refusal(2, false)) EXPECT_NE(text.find("TreeGradientReducer"), text.npos);
  for (const auto& text : refusal(2, true)) EXPECT_EQ(text, "");
  for (const auto& text : refusal(1, false)) EXPECT_EQ(text, "");
}

TEST(FullDeterminismConditions, EqualThreadsOnAllRanks) {
  const FixtureModel model{llama_config()};
  const auto texts = on_ranks(2, [&](Communicator& comm) -> std::string {
    // A thread begins with what was set last, when it first asks: both have begun before one is
    // set.
    at::get_num_threads();
    comm.barrier();
    if (comm.rank() == 1) at::set_num_threads(2);
    try {
      TrainerHarness{model.folder(), comm, {.full_determinism = true}, {.deterministic = true}};
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  });
  at::set_num_threads(1);
  for (const auto& text : texts) EXPECT_NE(text.find("same number of threads"), text.npos) << text;
}

TEST(FullDeterminismDefaults, TheSizeOfUpdatesDoesNotDependOnTheRanks) {
  const FixtureModel model{llama_config()};
  for (const int ranks : {1, 2, 4}) {
    const auto sizes = on_ranks(ranks, [&](Communicator& comm) {
      TrainerHarness harness{model.folder(), comm,
                             {.per_device_train_batch_size = 3, .full_determinism = true},
                             {.deterministic = true}};
      return harness->state().global_train_batch_size;
    });
    for (const auto size : sizes) EXPECT_EQ(size, 12);
  }
}

}  // namespace
}  // namespace hone::testing

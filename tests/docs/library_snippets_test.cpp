// The C++ of docs/library.md: docs_test.py compares the page's blocks with this text.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "hone/collators/causal_lm_collator.hpp"
#include "hone/core/hf/hf_tokenizer.hpp"
#include "hone/core/training/trainer.hpp"
#include "hone/distributed/all_reduce_gradient_reducer.hpp"
#include "support/rank_threads.hpp"

namespace hone {
namespace {

/// HONE_TINY_MODEL is a Hugging Face folder that a fixture has made.
std::filesystem::path tiny_model() { return std::getenv("HONE_TINY_MODEL"); }

double reward_of(const std::string& text) { return static_cast<double>(text.size() % 3); }

const std::vector<std::string> kPrompts{"one", "two", "three", "four", "five"};

/// A trainer for the snippets, on one rank of a world.
template <typename Body>
void with_trainer(Communicator& comm, Body&& body) {
  const auto folder = tiny_model();
  // clang-format off
  auto model = load_model(folder);          // config.json chooses the family
  auto tokenizer = load_tokenizer(folder);
  distributed::AllReduceGradientReducer reducer{comm};
  collators::PackingCollator collator;
  NullLogger log;
  Trainer trainer{{.model = *model,
                   .communicator = comm,
                   .reducer = reducer,
                   .collator = collator,
                   .log = log,
                   .tokenizer = tokenizer.get()},
                  {.global_train_batch_size = 16, .learning_rate = 1e-4, .max_steps = 100}};
  // clang-format on
  body(trainer, *tokenizer);
}

/// What the same lines come to on `num_ranks` ranks, as rank 0 has it.
template <typename Body>
double loss_on(int num_ranks, const Body& body) {
  const auto losses = testing::on_ranks(num_ranks, [&](Communicator& comm) {
    double loss = 0.0;
    with_trainer(comm, [&](Trainer& trainer, Tokenizer& tokenizer) {
      loss = body(trainer, tokenizer, comm.rank());
    });
    return loss;
  });
  return losses.front();
}

TEST(LibrarySnippets, TextsOnEveryRankTrainLikeOneRank) {
  const auto body = [](Trainer& trainer, Tokenizer&, int) {
    // Replicated (the default): every rank passes the same batch, and each takes its share.
    StepStats stats = trainer.step({.texts = {"a river", "a bridge over it", "clouds"}});
    return stats.loss;
  };
  EXPECT_NEAR(loss_on(2, body), loss_on(1, body), 1e-5);
}

TEST(LibrarySnippets, RootScattersTokens) {
  const auto body = [](Trainer& trainer, Tokenizer&, int rank) {
    // Root: rank 0 has the samples, what the others pass is not looked at.
    Batch batch{.scope = BatchScope::Root};
    if (rank == 0) {
      batch.input_ids = {{5, 6, 7, 8}, {9, 10, 11}};
      batch.labels = {{kIgnoredLabel, kIgnoredLabel, 7, 8}, {9, 10, 11}};
    }
    StepStats stats = trainer.step(batch);
    EXPECT_EQ(stats.num_tokens, 4);
    return stats.loss;
  };
  EXPECT_NEAR(loss_on(3, body), loss_on(1, body), 1e-5);
}

TEST(LibrarySnippets, GenerateAndKeepOnEachRank) {
  const auto body = [](Trainer& trainer, Tokenizer& tokenizer, int) {
    // Every rank passes all prompts and gets the completions of its own share.
    auto drafts =
        trainer.generate(kPrompts, {.num_return_sequences = 4, .max_new_tokens = 6});
    // PerRank: each rank brings its own samples, or none.
    Batch kept{.scope = BatchScope::PerRank};
    for (const Completion& draft : drafts) {
      if (reward_of(draft.text) < 1.0) continue;
      TokenIds ids = tokenizer.encode(kPrompts[static_cast<std::size_t>(draft.prompt_index)]);
      TokenIds labels(ids.size(), kIgnoredLabel);  // the prompt is not trained
      ids.insert(ids.end(), draft.ids.begin(), draft.ids.end());
      labels.insert(labels.end(), draft.ids.begin(), draft.ids.end());
      kept.input_ids.push_back(ids);
      kept.labels.push_back(labels);
      kept.order.push_back(draft.prompt_index * 4 + draft.k);  // one order, whoever holds them
    }
    StepStats stats = trainer.step(kept);
    return stats.loss;
  };
  EXPECT_NEAR(loss_on(2, body), loss_on(1, body), 1e-5);
}

TEST(LibrarySnippets, EvaluatesWithoutTraining) {
  const auto body = [](Trainer& trainer, Tokenizer&, int) {
    EvalStats before = trainer.evaluate({.texts = {"held out"}});
    EXPECT_EQ(trainer.state().global_step, 0);
    return before.loss;
  };
  EXPECT_GT(loss_on(1, body), 0.0);
}

}  // namespace
}  // namespace hone

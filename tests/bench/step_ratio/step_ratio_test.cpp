// An update by hone against the same update by a plain loop over LibTorch, in turn in one process.
// What is compared is a ratio: a slow machine slows both. It is there to notice that the fast ways
// have been lost, not to measure them: scripts/bench.sh does that.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <limits>

#include "fakes/temp_dir.hpp"
#include "fakes/warning_log.hpp"
#include "hone/collators/causal_lm_collator.hpp"
#include "hone/core/keyed_random.hpp"
#include "hone/core/memory/tensor_memory.hpp"
#include "hone/core/training/trainer.hpp"
#include "hone/distributed/all_reduce_gradient_reducer.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "step_ratio/plain_loop.hpp"

namespace hone::bench {
namespace {

constexpr double kLearningRate = 1e-3;
constexpr int kRounds = 7;
constexpr std::int64_t kVocabulary = 8192;

std::unique_ptr<LanguageModel> small_gpt2() {
  const testing::TempDir folder;
  folder.write("config.json",
               R"({"model_type": "gpt2", "vocab_size": 8192, "n_positions": 256, "n_embd": 256,
                   "n_layer": 4, "n_head": 4, "resid_pdrop": 0.0, "embd_pdrop": 0.0,
                   "attn_pdrop": 0.0})");
  auto model = build_model(folder.path());
  const c10::NoGradGuard no_grad;
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(/*seed=*/1);
  for (const auto& parameter : model->parameters().all()) {
    auto value = parameter.value.detach().uniform_(-0.1, 0.1, generator);
    if (parameter.name.find("ln_") != std::string::npos) value.add_(1.0);
  }
  return model;
}

/// Half of these tokens would be padding in one rectangle.
std::vector<std::vector<std::int64_t>> sequences() {
  std::vector<std::vector<std::int64_t>> all;
  const KeyedRandom random{3, 4};
  std::uint64_t number = 0;
  for (const int length : {56, 153, 174, 86, 92, 51, 39, 39}) {
    auto& ids = all.emplace_back();
    for (int i = 0; i < length; ++i) {
      ids.push_back(static_cast<std::int64_t>(random.uniform(number++) * kVocabulary));
    }
  }
  return all;
}

template <typename Function>
double seconds_of(Function&& function) {
  const auto start = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The trainer as `hone train` puts it together for one rank.
struct Hone {
  std::unique_ptr<LanguageModel> model = small_gpt2();
  distributed::LoopbackCommunicator comm;
  distributed::AllReduceGradientReducer reducer{comm};
  collators::PackingCollator packing;
  testing::WarningLog log;
  Trainer trainer{{.model = *model,
                   .communicator = comm,
                   .reducer = reducer,
                   .collator = packing,
                   .log = log},
                  {.updates_per_step = "one", .learning_rate = kLearningRate}};
};

TEST(StepRatio, AnUpdateIsFasterThanThatOfAPlainLoop) {
  keep_tensor_memory();  // for both
  Hone hone;
  PlainLoop plain{*hone.model, kLearningRate};
  Batch batch;
  batch.input_ids = sequences();
  double best = std::numeric_limits<double>::infinity(), best_plain = best;
  for (int round = 0; round < kRounds; ++round) {
    double loss = 0.0, plain_loss = 0.0;
    const double seconds = seconds_of([&] { loss = hone.trainer.step(batch).loss; });
    const double plain_seconds = seconds_of([&] { plain_loss = plain.step(batch.input_ids); });
    ASSERT_NEAR(loss, plain_loss, 2e-3) << "they do not do the same work, round " << round;
    if (round == 0) continue;  // pages and caches are new
    best = std::min(best, seconds);
    best_plain = std::min(best_plain, plain_seconds);
  }
  std::printf("hone %.3f s, plain loop %.3f s, ratio %.2f\n", best, best_plain, best_plain / best);
  EXPECT_GT(best_plain / best, HONE_LEAST_STEP_RATIO);
}

}  // namespace
}  // namespace hone::bench

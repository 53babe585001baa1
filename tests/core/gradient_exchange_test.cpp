// Sums over ranks during the backward pass. That they are right is in law_test.cpp; here, that they
// are early.
#include "training/gradient_exchange.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "fakes/late_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/rank_threads.hpp"
#include "support/split_training.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

using ::testing::Each;

/// The phases in which buckets were started, update by update.
std::vector<std::vector<std::string>> phases_of_starts(const std::filesystem::path& folder,
                                                       Communicator& comm,
                                                       TrainerOptions options, int num_updates) {
  PhaseTeller teller;
  options.updates_per_step = "one";
  LateCommunicator late{comm, &teller};
  TrainerHarness harness{folder, comm, options, {.reduce_on = &late, .activity = &teller}};
  std::vector<std::vector<std::string>> phases;
  std::size_t seen = 0;
  for (int update = 0; update < num_updates; ++update) {
    harness->step(law_samples());
    const auto& all = late.phases();
    phases.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(seen), all.end());
    seen = all.size();
  }
  return phases;
}

std::ptrdiff_t num_early(const std::vector<std::string>& phases) {
  return std::ranges::count(phases, "backward");
}

class Exchange : public ::testing::TestWithParam<const char*> {
 protected:
  FixtureModel model_{config_named(GetParam()), Fill::Random, /*seed=*/3};
};

TEST_P(Exchange, StartsMostBucketsDuringTheBackwardPassOnceItKnowsIt) {
  for (const bool recomputes : {false, true}) {
    const auto of_ranks = on_ranks(2, [&](Communicator& comm) {
      return phases_of_starts(model_.folder(), comm, {.gradient_checkpointing = recomputes}, 3);
    });
    for (const auto& phases : of_ranks) {
      ASSERT_GT(phases[0].size(), 3U);
      EXPECT_THAT(phases[0], Each("reduce"));  // nothing is known of the model yet
      for (const auto& later : {phases[1], phases[2]}) {
        EXPECT_EQ(later.size(), phases[0].size());
        EXPECT_GT(num_early(later), 1) << "of " << later.size();
      }
    }
  }
}

TEST_P(Exchange, OnlyTheLastMicroBatchOfAnUpdateSendsAnything) {
  const auto phases_by = [&](std::int64_t micro_batch) {
    const auto of_ranks = on_ranks(1, [&](Communicator& comm) {
      return phases_of_starts(model_.folder(), comm, {.per_device_train_batch_size = micro_batch}, 2);
    });
    return of_ranks[0];
  };
  const auto one_by_one = phases_by(1), together = phases_by(100);
  for (const std::size_t update : {0, 1}) {
    EXPECT_EQ(one_by_one[update].size(), together[update].size()) << "each bucket is sent once";
  }
  EXPECT_GT(num_early(one_by_one[1]), 1);
}

/// The weights after three updates, with weight decay, in which one parameter is frozen.
at::Tensor trained_with_a_frozen_one(const std::filesystem::path& folder, Communicator& comm,
                                     const std::string& optim, const std::string& sharding,
                                     bool is_embedding) {
  PhaseTeller teller;
  LateCommunicator late{comm, &teller};
  TrainerHarness harness{folder, comm,
                         {.updates_per_step = "one",
                          .learning_rate = 1e-2,
                          .weight_decay = 0.1,
                          .optim = optim,
                          .optimizer_sharding = sharding},
                         {.dtype = at::kDouble, .reduce_on = &late, .activity = &teller}};
  const auto& all = harness.model().parameters().all();
  // The embedding, which may be the output layer too, or another one with weight decay.
  const auto decayed = std::ranges::find_if(all.begin() + (is_embedding ? 0 : 1), all.end(), &Parameter::decayed);
  const auto frozen = decayed->value;
  frozen.set_requires_grad(false);
  const auto before = frozen.clone();
  for (int update = 0; update < 3; ++update) harness->step(law_samples());
  EXPECT_TRUE(at::equal(frozen, before)) << decayed->name;
  if (sharding == "none") {  // else the values are shared in the memory of the gradients
    EXPECT_EQ(frozen.grad().count_nonzero().item<std::int64_t>(), 0) << "it is no part of the norm";
  }
  std::vector<at::Tensor> weights;
  for (const auto& parameter : all) weights.push_back(parameter.value.detach().reshape({-1}).clone());
  return at::cat(weights);
}

TEST_P(Exchange, LeavesAFrozenParameterAlone) {
  for (const std::string optim : {"adamw_torch", "sgd"}) {
    for (const std::string sharding : {"none", "zero1"}) {
      for (const bool is_embedding : {false, true}) {
        const auto train = [&](Communicator& comm) {
          return trained_with_a_frozen_one(model_.folder(), comm, optim, sharding, is_embedding);
        };
        const auto alone = on_ranks(1, train)[0];
        for (const auto& weights : on_ranks(2, train)) {
          EXPECT_LT(relative_distance(weights, alone), 1e-6) << optim << " " << sharding;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Exchange, ::testing::Values("llama", "gpt2", "t5_dropout"),
                         [](const auto& info) { return std::string{info.param}; });

}  // namespace
}  // namespace hone::testing

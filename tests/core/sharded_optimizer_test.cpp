// optimizer_sharding: each rank keeps a part of the optimizer's state, and the result is the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hone/checkpoints/hdf5_checkpoint_store.hpp"
#include "support/fixture_model.hpp"
#include "support/rank_threads.hpp"
#include "support/split_training.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

TrainerOptions sharded(TrainerOptions options = {}) {
  options.optimizer_sharding = "zero1";
  options.learning_rate = 1e-2;
  options.weight_decay = 0.1;
  options.global_train_batch_size = 5;
  return options;
}

TrainerOptions unsharded(TrainerOptions options) {
  options.optimizer_sharding = "none";
  return options;
}

/// All weights one behind another, after two calls.
at::Tensor trained_weights(const std::filesystem::path& folder, Communicator& comm,
                           const TrainerOptions& options, TrainerHarness::Extras extras = {}) {
  TrainerHarness harness{folder, comm, options, std::move(extras)};
  for (int call = 0; call < 2; ++call) harness->step(law_samples());
  std::vector<at::Tensor> weights;
  for (std::size_t i = 0; i < harness.model().parameters().all().size(); ++i) {
    weights.push_back(harness.model().parameters().trained(i).detach().reshape({-1}).clone());
  }
  return at::cat(weights);
}

class ShardedOptimizer : public ::testing::TestWithParam<int> {
 protected:
  FixtureModel model_{config_named("llama"), Fill::Random, /*seed=*/3};
};

TEST_P(ShardedOptimizer, IsBitwiseTheSameInTheDeterministicMode) {
  if (GetParam() == 3) GTEST_SKIP() << "the deterministic mode has 1, 2 and 4 ranks";
  on_ranks(GetParam(), [&](Communicator& comm) {
    const auto options = sharded({.full_determinism = true});
    const auto got = trained_weights(model_.folder(), comm, options, {.deterministic = true});
    const auto expected =
        trained_weights(model_.folder(), comm, unsharded(options), {.deterministic = true});
    EXPECT_TRUE(at::equal(got, expected));
    return 0;
  });
}

TEST_P(ShardedOptimizer, WorksWithMastersMomentumAndClipping) {
  on_ranks(GetParam(), [&](Communicator& comm) {
    auto options = sharded({.max_grad_norm = 0.1, .optim = "sgd", .momentum = 0.9});
    const auto expected = trained_weights(model_.folder(), comm, unsharded(options));
    EXPECT_LT(relative_distance(trained_weights(model_.folder(), comm, options), expected), 1e-6);

    const TrainerHarness::Extras narrow{.dtype = at::kBFloat16};
    options = sharded({});
    const auto rounded = trained_weights(model_.folder(), comm, unsharded(options), narrow);
    // Sums in another order: where a weight is rounded the other way it is another by 1/256, and so are
    // the gradients behind it.
    EXPECT_LT(relative_distance(trained_weights(model_.folder(), comm, options, narrow), rounded),
              1e-3);
    return 0;
  });
}

/// Notes what it is given to save.
class SaveCounter final : public CheckpointStore {
 public:
  std::filesystem::path save(const CheckpointContent& content) override {
    for (const auto& tensor : content.tensors) {
      const auto count = static_cast<std::int64_t>(tensor.bytes.size()) / size_of(tensor.dtype);
      (tensor.name.starts_with("model/") ? weights : state) += count;
    }
    return {};
  }
  bool load_newest(const Load&) override { return false; }
  std::string load_state(const std::filesystem::path&) override { return {}; }
  void load_tensors(const std::filesystem::path&, std::span<const TensorBytes>) override {}
  void go_on_from(const std::filesystem::path&) override {}

  std::int64_t weights = 0;  ///< elements that this rank has
  std::int64_t state = 0;
};

TEST_P(ShardedOptimizer, EveryRankKeepsItsPartOfTheStateOnly) {
  on_ranks(GetParam(), [&](Communicator& comm) {
    SaveCounter store;
    TrainerHarness harness{model_.folder(), comm, sharded(), {.checkpoints = &store}};
    harness->save();
    // Two moments of an equal share of the weights, and at most the rest of both groups.
    EXPECT_LE(store.state, 2 * (store.weights / comm.size() +
                                2 * BufferPartition::kGrain * comm.size()));
    all_reduce_sum(comm, std::span{&store.state, 1});
    EXPECT_EQ(store.state, 2 * store.weights);
    return 0;
  });
}

TEST_P(ShardedOptimizer, ACheckpointIsResumedByAnyNumberOfRanksShardedOrNot) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("hone-zero1-" + std::to_string(::getpid()));
  const auto run = [&](int ranks, const TrainerOptions& options, bool resumes) {
    at::Tensor weights;
    on_ranks(ranks, [&](Communicator& comm) {
      WarningLog log;
      checkpoints::Hdf5CheckpointStore store{comm, log, {folder, {}}};
      TrainerHarness harness{model_.folder(), comm, options,
                             {.checkpoints = &store, .dtype = at::kDouble}};
      if (resumes) {
        EXPECT_TRUE(harness->resume());
        EXPECT_EQ(harness->state().global_step, 2);
      } else {
        harness->step(law_samples());
        harness->save();
      }
      harness->step(law_samples());
      if (comm.rank() != 0) return 0;
      const auto& group = harness.model().parameters().groups()[0];
      weights = group.trained().detach().clone();
      return 0;
    });
    return weights;
  };
  const auto options = sharded();
  const auto unbroken = run(GetParam(), options, false);
  for (const int ranks : {1, 2, 3, 4}) {
    EXPECT_LT(relative_distance(run(ranks, options, true), unbroken), 1e-9) << ranks;
  }
  EXPECT_LT(relative_distance(run(2, unsharded(options), true), unbroken), 1e-9);
  std::filesystem::remove_all(folder);
  run(2, unsharded(options), false);
  EXPECT_LT(relative_distance(run(GetParam(), options, true), unbroken), 1e-9);
  std::filesystem::remove_all(folder);
}

TEST_P(ShardedOptimizer, RefusesAnOptimizerThatIsNotItsOwn) {
  on_ranks(GetParam(), [&](Communicator& comm) {
    const auto own = [](ParameterStore& parameters) {
      parameters.enable_training();
      return std::make_unique<Sgd>(parameters, SgdOptions{});
    };
    EXPECT_THAT([&] { TrainerHarness(model_.folder(), comm, sharded(), {.optimizer = own}); },
                ::testing::ThrowsMessage<ConfigError>(::testing::HasSubstr("optimizer_sharding none")));
    return 0;
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, ShardedOptimizer, ::testing::Values(1, 2, 3, 4),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace hone::testing

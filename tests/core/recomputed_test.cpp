// Gradient checkpointing: the memory that it saves, in bytes of tensors, and the numbers that it
// keeps.
#include "hone/core/model/recomputed.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "hone/core/model/attention.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "support/counted_memory.hpp"
#include "support/fixture_model.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

TEST_F(CountedMemory, Row35_CheckpointingHoldsOneBlockAtATime) {
  auto llama = llama_config(), t5 = t5_config();
  llama["num_hidden_layers"] = t5["num_layers"] = 8;
  llama["max_position_embeddings"] = t5["n_positions"] = 512;
  for (const auto& config : {llama, t5}) {
    const FixtureModel model{config, Fill::Random, /*seed=*/3};
    distributed::LoopbackCommunicator comm;
    std::int64_t peak[2] = {0, 0};
    double loss[2] = {0.0, 0.0};
    for (const bool checkpointing : {false, true}) {
      TrainerHarness harness{
          model.folder(), comm, {.gradient_checkpointing = checkpointing, .updates_per_step = "one"}};
      const auto sequences = ragged_sequences(4, /*longest=*/400, /*seed=*/5);
      allocator().mark();
      allocator().begin();
      loss[checkpointing] = harness->step({.input_ids = sequences, .labels = sequences}).loss;
      peak[checkpointing] = allocator().risen();
    }
    EXPECT_EQ(loss[0], loss[1]);
    EXPECT_LT(static_cast<double>(peak[1]), 0.5 * static_cast<double>(peak[0]))
        << config["model_type"] << ": " << peak[1] << " bytes with, " << peak[0] << " without";
  }
}

TEST(Recomputed, HasTheGradientsOfThePlainBlock) {
  const auto weight = at::randn({3, 3}, at::kDouble).requires_grad_(true);
  const auto x = at::randn({2, 3}, at::kDouble).requires_grad_(true);
  int calls = 0;
  const auto block = [&](const at::Tensor& input) {
    ++calls;
    return (input.matmul(weight)).tanh() + input;
  };
  block(x).sum().backward();
  const auto expected_x = x.grad().clone(), expected_weight = weight.grad().clone();
  x.mutable_grad().zero_();
  weight.mutable_grad().zero_();
  calls = 0;
  recomputed(x, block).sum().backward();
  EXPECT_EQ(calls, 2) << "forward, and again in backward";
  EXPECT_TRUE(x.grad().equal(expected_x));
  EXPECT_TRUE(weight.grad().equal(expected_weight));
}

}  // namespace
}  // namespace hone::testing

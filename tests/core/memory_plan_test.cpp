// Sizes and times against numbers worked out by hand.
#include "hone/core/training/memory_plan.hpp"

#include <gtest/gtest.h>

#include "hone/core/error.hpp"
#include "hone/core/training/cost_model.hpp"

namespace hone {
namespace {

/// 1,000 parameters in 1,024 places; two blocks whose bytes are easy to tell apart in a sum.
ModelSizes small_model() {
  return {.num_parameters = 1000,
          .flat_elements = 1024,
          .vocab_size = 10,
          .hidden_size = 4,
          .cache_elements = 6,
          .stacks = {{.num_blocks = 2,
                      .input = 16,
                      .kept = 1000,
                      .kept_of_pair = 100,
                      .widest = 64,
                      .kept_behind = 7,
                      .largest_weight = 50}}};
}

MemoryRequest small_request() { return {.sequences = 3, .length = 5, .update_tokens = 30}; }

TEST(MemoryPlan, CountsFourBytesForEachNumberOfAdamW) {
  const auto plan = plan_memory(small_model(), small_request());
  EXPECT_EQ(plan.parameters, 4 * 1024);
  EXPECT_EQ(plan.masters, 0);
  EXPECT_EQ(plan.gradients, 4 * 1024);
  EXPECT_EQ(plan.optimizer, 8 * 1024);
  EXPECT_EQ(plan.samples, 30 * 40);
  EXPECT_EQ(checkpoint_bytes(small_model(), small_request()), 12 * 1000);
}

TEST(MemoryPlan, ACheckpointWrittenBehindTakesACopyOfTheRanksShareOnTheHost) {
  auto request = small_request();
  const auto without = plan_memory(small_model(), request);
  EXPECT_EQ(without.checkpoint_copy, 0);
  request.async_save = true;
  const auto alone = plan_memory(small_model(), request);
  EXPECT_EQ(alone.checkpoint_copy, 12 * 1000);
  EXPECT_EQ(alone.total(), without.total() + 12 * 1000);
  request.ranks = 7;
  EXPECT_EQ(plan_memory(small_model(), request).checkpoint_copy, 1715);
  request.on_gpu = true;
  const auto on_gpu = plan_memory(small_model(), request);
  request.async_save = false;
  EXPECT_EQ(on_gpu.total(), plan_memory(small_model(), request).total());
}

TEST(MemoryPlan, Bfloat16HasMastersAndFloat32Gradients) {
  auto request = small_request();
  request.element_bytes = 2;
  request.moments = 0;
  const auto plan = plan_memory(small_model(), request);
  EXPECT_EQ(plan.parameters, 2 * 1024);
  EXPECT_EQ(plan.masters, 4 * 1024);
  EXPECT_EQ(plan.gradients, 4 * 1024);
  EXPECT_EQ(plan.optimizer, 0);
  EXPECT_EQ(checkpoint_bytes(small_model(), request), 4 * 1000);
}

TEST(MemoryPlan, NarrowGradientsTakeOneBucketOnCpusAndAllOnGpus) {
  auto request = small_request();
  request.narrow_wire = true;
  EXPECT_EQ(plan_memory(small_model(), request).wire, 0);  // one rank sends nothing
  request.ranks = 2;
  EXPECT_EQ(plan_memory(small_model(), request).wire, 2 * 1024);
  auto large = small_model();
  large.flat_elements = std::int64_t{1} << 30;
  EXPECT_EQ(plan_memory(large, request).wire, 32 << 20);
  request.on_gpu = true;
  EXPECT_EQ(plan_memory(large, request).wire, std::int64_t{2} << 30);
}

TEST(MemoryPlan, RanksOfANodeSeeEachOthersGradients) {
  auto request = small_request();
  request.ranks = 8;
  request.ranks_on_node = 4;
  const auto plan = plan_memory(small_model(), request);
  EXPECT_EQ(plan.shared, 3 * 1024);  // three quarters of 4 bytes an element
  EXPECT_EQ(plan.resident(), plan.total() + 3 * 1024);
  request.on_gpu = true;
  EXPECT_EQ(plan_memory(small_model(), request).shared, 0);
}

TEST(MemoryPlan, Zero1DividesTheMomentsAlone) {
  auto request = small_request();
  request.sharded_optimizer = true;
  request.ranks = 3;
  const auto sharded = plan_memory(small_model(), request);
  EXPECT_EQ(sharded.optimizer, 8 * 342);  // 1024 / 3, rounded up
  request.sharded_optimizer = false;
  const auto whole = plan_memory(small_model(), request);
  EXPECT_EQ(whole.optimizer, 8 * 1024);
  EXPECT_EQ(whole.total() - sharded.total(), 8 * (1024 - 342));
}

TEST(MemoryPlan, ActivationsAreThoseOfAllBlocksAndTheOneThatGoesBackward) {
  // 15 tokens in 3 sequences of 5. Each of 2 blocks: 15 x 1000 + 3 x 25 x 100; behind them 15 x 7;
  // the rows that predict and their gradient: 2 x 15 x 4 x 4.
  const std::int64_t held = 2 * (15'000 + 7'500) + 105 + 480;
  // One backward: 15 x (64 + 2 x 16), but the scores of one sequence are more: 25 x 100; and 50 x 4
  // of a weight. The head's table of 15 x 10 floats is less.
  EXPECT_EQ(plan_memory(small_model(), small_request()).activations, held + 2'500 + 200);
  auto without_copies = small_request();
  without_copies.on_gpu = true;  // where products add weights' gradients themselves
  EXPECT_EQ(plan_memory(small_model(), without_copies).activations, held + 2'500);
  auto wide = small_model();
  wide.vocab_size = 1000;
  EXPECT_EQ(plan_memory(wide, small_request()).activations, held + 4 * 15 * 1000);
  auto on_gpu = small_request();
  on_gpu.on_gpu = true;  // where log-probabilities are made beside the logits
  EXPECT_EQ(plan_memory(wide, on_gpu).activations, held + 2 * 4 * 15 * 1000);
}

TEST(MemoryPlan, CheckpointingHoldsInputsAndOneBlock) {
  auto request = small_request();
  request.gradient_checkpointing = true;
  const std::int64_t held = 2 * 15 * 16 + 105 + 480;
  EXPECT_EQ(plan_memory(small_model(), request).activations, held + 22'500 + 2'500 + 200);
}

TEST(MemoryPlan, TheHeadHoldsNoMoreThanAChunkOfLogits) {
  auto model = small_model();
  model.vocab_size = std::int64_t{1} << 24;  // two rows of logits at once
  const auto before = plan_memory(small_model(), small_request()).activations - 2'700;
  EXPECT_EQ(plan_memory(model, small_request()).activations,
            before + 4 * (std::int64_t{1} << 25));
}

TEST(MemoryPlan, GeneratingAndTrainingTakeTurns) {
  auto request = small_request();
  const auto without = plan_memory(small_model(), request);
  request.cache_rows = 10;
  const auto small = plan_memory(small_model(), request);
  EXPECT_EQ(small.kv_cache, 10 * 5 * 6 * 4);
  EXPECT_EQ(small.total(), without.total());
  request.cache_rows = 1000;
  const auto large = plan_memory(small_model(), request);
  EXPECT_EQ(large.total() - without.total(), 1000 * 5 * 6 * 4 - without.activations);
}

TEST(MemoryPlan, AGpuHoldsNoSamplesOfOthers) {
  auto request = small_request();
  request.on_gpu = true;
  const auto few = plan_memory(small_model(), request);
  request.update_tokens *= 1000;
  const auto many = plan_memory(small_model(), request);
  EXPECT_EQ(many.samples, 1000 * few.samples);
  EXPECT_EQ(many.total(), few.total());
  request.on_gpu = false;
  EXPECT_EQ(plan_memory(small_model(), request).total() - many.total(),
            many.samples + 179'000'000 - 500'000'000 + 200);  // a weight's gradient
}

TEST(MemoryPlan, RefusesWhatHasNoSize) {
  auto request = small_request();
  request.length = 0;
  EXPECT_THROW(plan_memory(small_model(), request), ConfigError);
}

Cluster cluster(std::int64_t ranks, std::int64_t ranks_per_node) {
  return {.ranks = ranks,
          .ranks_per_node = ranks_per_node,
          .inside = {.bytes_per_second = 100.0, .latency_s = 1.0},
          .between = {.bytes_per_second = 10.0, .latency_s = 20.0}};
}

TEST(CostModel, ARingSendsTwiceAllButOneShare) {
  EXPECT_DOUBLE_EQ(update_traffic(1, {.gradients = 800}), 0.0);
  EXPECT_DOUBLE_EQ(update_traffic(2, {.gradients = 800}), 800.0);
  EXPECT_DOUBLE_EQ(update_traffic(8, {.gradients = 800}), 1400.0);
  // zero1: 7/8 of the gradients there, 7/8 of the parameters back.
  EXPECT_DOUBLE_EQ(update_traffic(8, {.gradients = 400, .gathered = 800}), 350.0 + 700.0);
}

TEST(CostModel, OnOneNodeOnlyItsOwnLinksCount) {
  EXPECT_DOUBLE_EQ(ring_pass_seconds(cluster(4, 8), 800), 3.0 + 600.0 / 100.0);
  EXPECT_DOUBLE_EQ(ring_pass_seconds(cluster(1, 8), 800), 0.0);
}

TEST(CostModel, BetweenNodesAllLinksOfANodeCarry) {
  // Two nodes of four: 6 hops within, 1 across; 4 links of 10 are the slowest part.
  EXPECT_DOUBLE_EQ(ring_pass_seconds(cluster(8, 4), 800), 6.0 + 20.0 + 700.0 / 40.0);
  // Sixteen links would carry 160: then the links inside are the slowest.
  EXPECT_DOUBLE_EQ(cluster(32, 16).ring_bytes_per_second(), 100.0);
  // One rank a node has no link inside.
  EXPECT_DOUBLE_EQ(ring_pass_seconds(cluster(3, 1), 900), 40.0 + 600.0 / 10.0);
}

TEST(CostModel, ATreeSavesHopsWhereThereAreManyNodes) {
  const auto many = cluster(1024, 8);
  // Twice 7 hops inside and 7 = log2(128) across; the ring: twice 1023 - 127 and 127.
  EXPECT_DOUBLE_EQ(tree_all_reduce_seconds(many, 0), 2.0 * (7 + 7 * 20));
  EXPECT_DOUBLE_EQ(2.0 * ring_pass_seconds(many, 0), 2.0 * (896 + 127 * 20));
  EXPECT_DOUBLE_EQ(reduce_seconds(many, {.gradients = 0}), tree_all_reduce_seconds(many, 0));
  // A reduce-scatter knows rings only.
  EXPECT_DOUBLE_EQ(reduce_seconds(many, {.gradients = 1024, .gathered = 1024}),
                   ring_pass_seconds(many, 1024));
}

TEST(CostModel, AStepIsComputingAndTheCommunicationThatNothingHides) {
  const StepWork work{.tokens = 10, .parameters = 100, .attention_width = 4, .length = 25};
  EXPECT_DOUBLE_EQ(work.operations(), 10.0 * 6 * 200);
  const UpdateBytes bytes{.gradients = 800};
  const auto alone = cluster(4, 8);  // 2 x 9 seconds
  const auto behind = predict_step(alone, bytes, work, 1000.0, /*overlap=*/0.0);
  EXPECT_DOUBLE_EQ(behind.computing, 12.0);
  EXPECT_DOUBLE_EQ(behind.total(), 12.0 + 18.0);
  EXPECT_DOUBLE_EQ(predict_step(alone, bytes, work, 1000.0, 0.5).total(), 12.0 + 18.0 - 4.0);
  EXPECT_DOUBLE_EQ(predict_step(alone, bytes, work, 100.0, 1.0).exposed, 0.0);
  // What is gathered comes after the update.
  const auto sharded = predict_step(alone, {.gradients = 800, .gathered = 400}, work, 100.0, 1.0);
  EXPECT_DOUBLE_EQ(sharded.communication, 9.0 + 6.0);
  EXPECT_DOUBLE_EQ(sharded.exposed, 6.0);
  auto again = work;
  again.recomputed = true;
  EXPECT_DOUBLE_EQ(again.operations(), 10.0 * 8 * 200);
  // The backward pass, with its second forward, is three quarters of that.
  EXPECT_DOUBLE_EQ(predict_step(alone, bytes, again, 1000.0, 1.0).exposed, 18.0 - 12.0);
}

}  // namespace
}  // namespace hone

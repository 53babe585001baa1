// Gradient checkpointing: the memory that it saves, in bytes of tensors, and the numbers that it keeps.
#include "hone/core/model/recomputed.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <unordered_map>

#include "hone/core/model/attention.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

/// The default allocator, with a count of the bytes that are out and of the most that were.
class CountingAllocator final : public c10::Allocator {
 public:
  at::DataPtr allocate(std::size_t bytes) override {
    auto data = c10::GetDefaultCPUAllocator()->allocate(bytes);
    now_ += static_cast<std::int64_t>(bytes);
    peak_ = std::max(peak_.load(), now_.load());
    auto* context = new Context{data.release_context(), data.get_deleter(), bytes, this};
    return {data.get(), context, &CountingAllocator::release, at::kCPU};
  }
  at::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
  void begin() { peak_ = now_.load(); }
  std::int64_t risen() const { return peak_ - start_; }
  void mark() { start_ = now_.load(); }

 private:
  struct Context {
    void* inner;
    at::DeleterFnPtr deleter;
    std::size_t bytes;
    CountingAllocator* owner;
  };
  static void release(void* pointer) {
    const auto* context = static_cast<Context*>(pointer);
    context->owner->now_ -= static_cast<std::int64_t>(context->bytes);
    context->deleter(context->inner);
    delete context;
  }
  std::atomic<std::int64_t> now_{0}, peak_{0}, start_{0};
};

/// Installed for the time of one test.
class CountedMemory : public ::testing::Test {
 protected:
  void SetUp() override { c10::SetCPUAllocator(&allocator(), /*priority=*/255); }
  void TearDown() override { c10::SetCPUAllocator(c10::GetDefaultCPUAllocator(), 255); }
  // Tensors of libraries may outlive the test.
  static CountingAllocator& allocator() {
    static auto* counting = new CountingAllocator;
    return *counting;
  }
};

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

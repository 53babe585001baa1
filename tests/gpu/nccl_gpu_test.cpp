// The contract of communicators, and the law, over the real NCCL: one rank per GPU, as threads.
#include <gtest/gtest.h>

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "distributed/communicator_contract.hpp"
#include "fakes/forwarding_communicator.hpp"
#include "gpu/gpu_world.hpp"
#include "hone/core/generation/generator.hpp"
#include "hone/core/model/language_model.hpp"
#include "hone/distributed/nccl_communicator.hpp"
#include "hone/distributed/thread_world.hpp"
#include "support/fixture_model.hpp"
#include "support/rank_threads.hpp"
#include "support/split_training.hpp"

namespace hone::testing {
namespace {

/// NCCL with memory that the host can fill and read as well.
class ManagedNccl final : public ForwardingCommunicator {
 public:
  using ForwardingCommunicator::ForwardingCommunicator;

  std::shared_ptr<std::byte> allocate(std::int64_t bytes) override {
    void* memory = nullptr;
    const auto size = static_cast<std::size_t>(bytes) + 1;  // none is not taken
    if (cudaMallocManaged(&memory, size, cudaMemAttachGlobal) != cudaSuccess) return nullptr;
    cudaMemset(memory, 0, size);
    cudaDeviceSynchronize();
    return {static_cast<std::byte*>(memory), cudaFree};
  }
};

/// What a rank of these tests has, where each has a GPU of its own.
struct GpuRank {
  explicit GpuRank(Communicator& host) {
    device = gpu_or_reason(host.rank(), reason);
    for (const auto& other : all_gather_strings(host, reason)) {
      if (!other.empty()) reason = other;
    }
    if (reason.empty()) nccl.emplace(real_nccl(), *device, host);
  }

  std::string reason;  ///< why there are no tests; the same on all ranks
  std::unique_ptr<distributed::Device> device;
  std::optional<distributed::NcclCommunicator> nccl;
};

World gpus(int num_ranks) {
  return {.backend = "nccl",
          .num_ranks = num_ranks,
          .run = [num_ranks](const auto& body) {
            distributed::ThreadWorld{num_ranks}.run([&](Communicator& host) {
              GpuRank rank{host};
              if (!rank.reason.empty()) GTEST_SKIP() << rank.reason;
              ManagedNccl managed{*rank.nccl};
              body(managed);
              rank.nccl->close();
            });
          },
          .orders_nan_and_zeros = false,
          .has_own_memory = [](int) { return true; }};
}

INSTANTIATE_TEST_SUITE_P(NcclOnGpus, CommunicatorContract, ::testing::Values(gpus(1), gpus(2)),
                         [](const auto& info) { return std::to_string(info.param.num_ranks) + "Ranks"; });

/// Runs body(host, nccl, device) on each rank; skips, and says why, where a rank has no GPU.
template <typename Body>
void on_gpus(int num_ranks, Body body) {
  on_ranks(num_ranks, [&](Communicator& host) {
    [&] {
      GpuRank rank{host};
      if (!rank.reason.empty()) GTEST_SKIP() << rank.reason;
      body(host, *rank.nccl, {at::kCUDA, static_cast<c10::DeviceIndex>(rank.device->index())});
      rank.nccl->close();
    }();
    return 0;
  });
}

class GpuLaw : public ::testing::TestWithParam<int> {};

TEST_P(GpuLaw, ATrainingOnGpusComputesWhatOneOnTheProcessorDoes) {
  const FixtureModel llama{config_named("llama"), Fill::Random, /*seed=*/3};
  const FixtureModel gpt2{config_named("gpt2"), Fill::Random, /*seed=*/3};
  on_gpus(GetParam(), [&](Communicator& host, Communicator& nccl, at::Device device) {
    for (const auto* model : {&llama, &gpt2}) {
      expect_updates_independent_of_split(model->folder(), host, &nccl, device);
    }
  });
}

/// In bfloat16 the kernels are others, and sums of weights' gradients are made by the products.
TEST_P(GpuLaw, InBfloat16LossesAreThoseOfTheProcessor) {
  const FixtureModel llama{config_named("llama"), Fill::Random, /*seed=*/3};
  on_gpus(GetParam(), [&](Communicator& host, Communicator& nccl, at::Device device) {
    const TrainerOptions options{.learning_rate = 1e-2, .max_steps = 8};
    const auto train = [&](Communicator* reduce_on, at::Device where) {
      return train_split(llama.folder(), host, {}, law_samples(), options, 4, at::kBFloat16,
                         reduce_on, where);
    };
    const auto expected = train(nullptr, at::kCPU), got = train(&nccl, device);
    ASSERT_EQ(got.losses.size(), expected.losses.size());
    for (std::size_t i = 0; i < expected.losses.size(); ++i) {
      EXPECT_NEAR(got.losses[i], expected.losses[i], 1e-2 * expected.losses[i]) << i;
      EXPECT_NEAR(got.norms[i], expected.norms[i], 5e-2 * expected.norms[i]) << i;
    }
  });
}

TEST(GpuGeneration, CompletionsAreThoseOfTheProcessor) {
  std::string reason;
  const auto gpu = gpu_or_reason(0, reason);
  if (gpu == nullptr) GTEST_SKIP() << reason;
  const FixtureModel llama{config_named("llama"), Fill::Random, /*seed=*/3};
  const auto complete = [&](at::Device device) {
    const auto model = load_model(llama.folder(), {.dtype = at::kDouble, .device = device});
    const std::vector<PromptTokens> prompts{{{5, 6, 7}, 0}, {{9}, 1}, {{3, 4, 5, 6, 8}, 2}};
    return generate(*model, prompts, {.do_sample = false, .max_new_tokens = 12, .batch_size = 2},
                    /*seed=*/1, /*call=*/0);
  };
  const auto expected = complete(at::kCPU), got = complete({at::kCUDA, 0});
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i].ids, expected[i].ids) << i;
}

INSTANTIATE_TEST_SUITE_P(Ranks, GpuLaw, ::testing::Values(1, 2),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace hone::testing

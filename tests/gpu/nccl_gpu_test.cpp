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

class GpuLaw : public ::testing::TestWithParam<int> {};

TEST_P(GpuLaw, ATrainingOnGpusComputesWhatOneOnTheProcessorDoes) {
  const FixtureModel llama{config_named("llama"), Fill::Random, /*seed=*/3};
  const FixtureModel gpt2{config_named("gpt2"), Fill::Random, /*seed=*/3};
  on_ranks(GetParam(), [&](Communicator& host) {
    GpuRank rank{host};
    if (!rank.reason.empty()) {
      [&] { GTEST_SKIP() << rank.reason; }();
      return 0;
    }
    const at::Device device{at::kCUDA, static_cast<c10::DeviceIndex>(rank.device->index())};
    for (const auto* model : {&llama, &gpt2}) {
      expect_updates_independent_of_split(model->folder(), host, &*rank.nccl, device);
    }
    rank.nccl->close();
    return 0;
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, GpuLaw, ::testing::Values(1, 2),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace hone::testing

// The contract of communicators, and the law, over the real NCCL: one rank per GPU, as processes.
#include <gtest/gtest.h>

#include <cuda_runtime_api.h>

#include "distributed/communicator_contract.hpp"
#include "distributed/mpi_test_main.hpp"
#include "gpu/gpu_world.hpp"
#include "hone/distributed/mpi_communicator.hpp"
#include "hone/distributed/nccl_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/split_training.hpp"

namespace hone::testing {
namespace {

/// NCCL with memory that the host can fill and read as well.
class ManagedNccl final : public Communicator {
 public:
  explicit ManagedNccl(distributed::NcclCommunicator& nccl) : nccl_(nccl) {}

  int rank() const override { return nccl_.rank(); }
  int size() const override { return nccl_.size(); }
  std::string_view backend() const override { return nccl_.backend(); }
  void all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) override {
    nccl_.all_reduce(data, count, dtype, op);
  }
  void reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) override {
    nccl_.reduce_scatter(data, block, dtype, op);
  }
  void all_gather(void* data, std::int64_t block, DType dtype) override {
    nccl_.all_gather(data, block, dtype);
  }
  void broadcast(void* data, std::int64_t count, DType dtype, int root) override {
    nccl_.broadcast(data, count, dtype, root);
  }
  std::vector<std::vector<std::byte>> all_gather_bytes(std::span<const std::byte> mine) override {
    return nccl_.all_gather_bytes(mine);
  }
  void barrier() override { nccl_.barrier(); }
  void abort(int exit_code) override { nccl_.abort(exit_code); }
  std::shared_ptr<std::byte> allocate(std::int64_t bytes) override {
    void* memory = nullptr;
    if (cudaMallocManaged(&memory, static_cast<std::size_t>(bytes) + 1) != cudaSuccess) return nullptr;
    cudaMemset(memory, 0, static_cast<std::size_t>(bytes));
    cudaDeviceSynchronize();
    return {static_cast<std::byte*>(memory), cudaFree};
  }

 private:
  distributed::NcclCommunicator& nccl_;
};

/// What a rank of these tests has; skips, on all ranks alike, where one has no GPU of its own.
class GpuRank {
 public:
  GpuRank() {
    device_ = gpu_or_reason(mpi_environment().local_rank(), reason_);
    for (const auto& other : all_gather_strings(host_, reason_)) {
      if (!other.empty()) reason_ = other;
    }
    if (reason_.empty()) nccl_.emplace(real_nccl(), *device_, host_);
  }
  const std::string& reason() const { return reason_; }
  Communicator& host() { return host_; }
  distributed::NcclCommunicator& nccl() { return *nccl_; }
  at::Device torch_device() const {
    return {at::kCUDA, static_cast<c10::DeviceIndex>(device_->index())};
  }

 private:
  distributed::MpiCommunicator host_;
  std::string reason_;
  std::unique_ptr<distributed::Device> device_;
  std::optional<distributed::NcclCommunicator> nccl_;
};

INSTANTIATE_TEST_SUITE_P(
    NcclOnGpus, CommunicatorContract,
    ::testing::Values(World{.backend = "nccl",
                            .run = [](const auto& body) {
                              GpuRank rank;
                              if (!rank.reason().empty()) GTEST_SKIP() << rank.reason();
                              ManagedNccl managed{rank.nccl()};
                              body(managed);
                              rank.nccl().close();
                            },
                            .orders_nan_and_zeros = false,
                            .has_own_memory = [](int) { return true; }}));

TEST(GpuLaw, ATrainingOnGpusComputesWhatOneOnTheProcessorDoes) {
  GpuRank rank;
  if (!rank.reason().empty()) GTEST_SKIP() << rank.reason();
  for (const auto* family : {"llama", "gpt2"}) {
    const FixtureModel model{config_named(family), Fill::Random, /*seed=*/3};
    expect_updates_independent_of_split(model.folder(), rank.host(), &rank.nccl(),
                                        rank.torch_device());
  }
  rank.nccl().close();
}

}  // namespace
}  // namespace hone::testing

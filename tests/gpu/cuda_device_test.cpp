// The GPU module on a GPU, where there is one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>

#include "gpu/gpu_world.hpp"

namespace hone::testing {
namespace {

class CudaDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    device_ = gpu_or_reason(0, reason);
    if (device_ == nullptr) GTEST_SKIP() << reason;
  }
  at::TensorOptions floats() const { return at::TensorOptions{at::kFloat}.device(at::kCUDA, 0); }

  std::unique_ptr<distributed::Device> device_;
};

TEST_F(CudaDevice, SaysWhichItIs) {
  EXPECT_EQ(device_->kind(), "cuda");
  EXPECT_EQ(device_->index(), 0);
  EXPECT_THAT(device_->uuid(), ::testing::MatchesRegex("GPU-[0-9a-f-]+"));
  EXPECT_EQ(device_->uuid().size(), 40U);
  EXPECT_NE(device_->communication_stream(), nullptr);
}

TEST_F(CudaDevice, CommunicationIsDoneWhenWhatItWaitsForIs) {
  auto work = at::arange(1 << 24, floats());
  for (int i = 0; i < 200; ++i) work.mul_(1.0001F);
  device_->communication_after_computing();
  while (!device_->communication_is_done()) continue;
  device_->computing_after_communication();
  EXPECT_GT(work.sum().item<float>(), 0.0F);
}

TEST_F(CudaDevice, NarrowsAndWidensAsLibTorchDoes) {
  const auto values = at::arange(1000, floats()) * 0.37F;
  const auto narrow = at::empty({1000}, values.options().dtype(at::kBFloat16));
  const auto wide = at::empty({1000}, values.options());
  device_->narrow(values.const_data_ptr<float>(),
                  static_cast<std::uint16_t*>(narrow.mutable_data_ptr()), 1000);
  device_->widen(static_cast<const std::uint16_t*>(narrow.const_data_ptr()),
                 wide.mutable_data_ptr<float>(), 1000);
  EXPECT_TRUE(at::equal(narrow, values.to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(wide, narrow.to(at::kFloat)));
}

TEST_F(CudaDevice, RanksBeyondTheGpusBeginAgainWithTheFirst) {
  // A power of two, and so a multiple of what nodes have.
  const auto again = distributed::open_cuda_device(distributed::find_cuda_module(), 1 << 20);
  EXPECT_EQ(again->uuid(), device_->uuid());
}

TEST(CudaModule, IsRefusedWithItsReasonWhereItCannotBeLoaded) {
  EXPECT_THAT([] { distributed::open_cuda_device("/nowhere/libhone_cuda.so", 0); },
              ::testing::ThrowsMessage<LaunchError>(::testing::AllOf(
                  ::testing::HasSubstr("/nowhere/libhone_cuda.so"), ::testing::HasSubstr("--use_cpu"))));
}

TEST(CudaModule, WithoutADriverTheReasonIsNamed) {
  const auto module = distributed::find_cuda_module();
  if (module.empty()) GTEST_SKIP() << "hone was built without its GPU module";
  std::string reason;
  if (gpu_or_reason(0, reason) != nullptr) GTEST_SKIP() << "there is a GPU";
  EXPECT_THAT(reason, ::testing::AnyOf(::testing::HasSubstr("cannot be loaded"),
                                       ::testing::HasSubstr("no GPU can be used")));
}

}  // namespace
}  // namespace hone::testing

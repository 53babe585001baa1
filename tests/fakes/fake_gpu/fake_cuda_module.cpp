// The fake GPU's libhone_cuda.so; README.md says what it does.
#include <ATen/detail/CUDAHooksInterface.h>

#include <cstdlib>
#include <limits>
#include <string>

#include "fakes/fake_nccl/fake_device.hpp"

namespace hone::testing {
namespace {

/// Behaves as LibTorch does without CUDA; that it is there is all there is to it.
struct FakeHooks final : at::CUDAHooksInterface {
  explicit FakeHooks(at::CUDAHooksArgs) {}
};

class FakeGpu final : public FakeDevice {
 public:
  explicit FakeGpu(int index) : index_(index) {}

  std::string_view kind() const override { return "cpu"; }  // where LibTorch computes
  int index() const override { return index_; }
  std::string uuid() const override {
    if (const char* uuid = std::getenv("FAKEGPU_UUID")) return uuid;
    if (std::getenv("FAKEGPU_OWN") != nullptr) {
      return std::string{"own-"} + std::getenv("OMPI_COMM_WORLD_RANK");
    }
    return "fake-" + std::to_string(index_);
  }

 private:
  int index_;
};

int number_of_devices() {
  const char* number = std::getenv("FAKEGPU_DEVICES");
  return number != nullptr ? std::atoi(number) : std::numeric_limits<int>::max();
}

}  // namespace
}  // namespace hone::testing

namespace at {
C10_REGISTER_TYPED_CLASS(CUDAHooksRegistry, "CUDAHooks", hone::testing::FakeHooks)
}  // namespace at

/// See cuda_module.hpp.
extern "C" __attribute__((visibility("default"))) hone::distributed::Device* hone_open_cuda_device(
    int index, int* num_devices, std::string* problem) {
  const auto* hooks = &at::detail::getCUDAHooks();
  if (dynamic_cast<const hone::testing::FakeHooks*>(hooks) == nullptr) {
    *problem = "LibTorch looked for CUDA before this module was loaded, and will not look again";
    return nullptr;
  }
  *num_devices = hone::testing::number_of_devices();
  return index < *num_devices ? new hone::testing::FakeGpu{index} : nullptr;
}

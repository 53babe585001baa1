// Device on one NVIDIA GPU: the only code of hone that links libtorch_cuda. A module of its own,
// loaded where there is a driver, so that one build runs on login nodes and GPU nodes.
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>

#include "hone/distributed/device.hpp"

namespace hone::distributed {
namespace {

void require(cudaError_t result, const char* function) {
  if (result == cudaSuccess) return;
  throw std::runtime_error{std::string{function} + ": " + cudaGetErrorString(result)};
}

/// A point in a stream that another stream can wait for. Without time stamps, which would cost.
class Event {
 public:
  Event() { require(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  /// What is queued on `later` from now on starts after what is queued on `earlier` so far.
  void order(cudaStream_t earlier, cudaStream_t later) {
    require(cudaEventRecord(event_, earlier), "cudaEventRecord");
    require(cudaStreamWaitEvent(later, event_, 0), "cudaStreamWaitEvent");
  }

 private:
  cudaEvent_t event_ = nullptr;
};

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int index)
      : index_(index), guard_(static_cast<c10::DeviceIndex>(index)),
        stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true,
                                             static_cast<c10::DeviceIndex>(index))) {}

  std::string_view kind() const override { return "cuda"; }
  int index() const override { return index_; }
  std::string uuid() const override;

  NcclStream communication_stream() override {
    return reinterpret_cast<NcclStream>(stream_.stream());
  }
  void communication_after_computing() override {
    computed_.order(computing_stream(), stream_.stream());
  }
  void computing_after_communication() override {
    communicated_.order(stream_.stream(), computing_stream());
  }
  bool communication_is_done() override {
    const auto state = cudaStreamQuery(stream_.stream());
    if (state == cudaErrorNotReady) return false;
    require(state, "cudaStreamQuery");
    return true;
  }

  std::shared_ptr<std::byte> allocate(std::int64_t bytes) override {
    auto* memory = c10::cuda::CUDACachingAllocator::raw_alloc(static_cast<std::size_t>(bytes));
    return {static_cast<std::byte*>(memory), c10::cuda::CUDACachingAllocator::raw_delete};
  }
  void narrow(const float* from, std::uint16_t* into, std::int64_t count) override {
    view(into, count, at::kBFloat16).copy_(view(from, count, at::kFloat));
  }
  void widen(const std::uint16_t* from, float* into, std::int64_t count) override {
    view(into, count, at::kFloat).copy_(view(from, count, at::kBFloat16));
  }

 private:
  cudaStream_t computing_stream() const {
    return c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(index_)).stream();
  }
  at::Tensor view(const void* data, std::int64_t count, at::ScalarType type) const {
    const at::Device device{at::kCUDA, static_cast<c10::DeviceIndex>(index_)};
    return at::from_blob(const_cast<void*>(data), {count},
                         at::TensorOptions{type}.device(device));
  }

  int index_;
  c10::cuda::CUDAGuard guard_;  ///< the thread that made the device computes on it
  c10::cuda::CUDAStream stream_;
  Event computed_;
  Event communicated_;
};

/// As nvidia-smi prints it.
std::string CudaDevice::uuid() const {
  cudaDeviceProp properties{};
  require(cudaGetDeviceProperties(&properties, index_), "cudaGetDeviceProperties");
  std::string text = "GPU";
  for (int i = 0; i < 16; ++i) {
    char part[4];
    std::snprintf(part, sizeof part, "%02x", static_cast<unsigned char>(properties.uuid.bytes[i]));
    text += (i == 0 || i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "") + std::string{part};
  }
  return text;
}

}  // namespace
}  // namespace hone::distributed

/// See cuda_module.hpp.
extern "C" __attribute__((visibility("default"))) hone::distributed::Device* hone_open_cuda_device(
    int index, int* num_devices, std::string* problem) {
  try {
    *num_devices = c10::cuda::device_count_ensure_non_zero();
    if (index >= *num_devices) return nullptr;
    return new hone::distributed::CudaDevice{index};
  } catch (const std::exception& error) {
    *problem = error.what();
    return nullptr;
  }
}

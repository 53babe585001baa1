#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "hone/core/error.hpp"
#include "hone/distributed/cuda_module.hpp"
#include "hone/distributed/nccl_api.hpp"

namespace hone::testing {

/// The GPU of the `index`-th rank of this node; null, and why, where there is none.
inline std::unique_ptr<distributed::Device> gpu_or_reason(int index, std::string& reason) {
  const auto module = distributed::find_cuda_module();
  if (module.empty()) {
    reason = "hone was built without its GPU module";
    return nullptr;
  }
  try {
    auto device = distributed::open_cuda_device(module, index);
    if (device->index() == index) return device;
    reason = "fewer GPUs than ranks";
    return nullptr;
  } catch (const LaunchError& error) {
    reason = error.what();
    // On a machine with GPUs a module that does not work is no reason to skip.
    if (std::filesystem::exists("/proc/driver/nvidia/version")) ADD_FAILURE() << reason;
    return nullptr;
  }
}

/// NCCL as LibTorch has loaded it with the module.
inline const distributed::NcclApi& real_nccl() {
  static const auto api = distributed::load_nccl("libnccl.so.2");
  return api;
}

}  // namespace hone::testing

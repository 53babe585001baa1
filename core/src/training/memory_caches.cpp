#include "training/memory_caches.hpp"

#include <ATen/DeviceAccelerator.h>

#include "hone/core/memory/tensor_memory.hpp"

namespace hone::detail {

void release_memory_caches(c10::Device device) {
  if (device.is_cpu()) {
    release_tensor_memory();
  } else {
    at::accelerator::emptyCache();
  }
}

}  // namespace hone::detail

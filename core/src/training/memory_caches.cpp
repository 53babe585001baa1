#include "training/memory_caches.hpp"

#include <ATen/DeviceAccelerator.h>
#include <malloc.h>

namespace hone::detail {

void release_memory_caches(c10::Device device) {
  if (device.is_cpu()) {
    malloc_trim(0);
  } else {
    at::accelerator::emptyCache();
  }
}

}  // namespace hone::detail

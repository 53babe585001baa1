#include "hone/core/memory/device_memory.hpp"

#include <ATen/DeviceAccelerator.h>
#include <sys/resource.h>

#include <cstddef>

#include "hone/core/memory/tensor_memory.hpp"

namespace hone {

void release_kept_memory(c10::Device device) {
  if (device.is_cpu()) {
    release_tensor_memory();
  } else {
    at::accelerator::emptyCache();
  }
}

std::int64_t peak_memory(c10::Device device) {
  if (device.is_cpu()) {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
  }
  constexpr auto kOfAll = static_cast<std::size_t>(at::CachingAllocator::StatType::AGGREGATE);
  return at::accelerator::getDeviceStats(device.index()).reserved_bytes[kOfAll].peak;
}

}  // namespace hone

#include <new>

#include "half_precision.hpp"
#include "hone/distributed/device.hpp"

namespace hone::distributed {

std::shared_ptr<std::byte> CpuDevice::allocate(std::int64_t bytes) {
  constexpr std::align_val_t kAlignment{64};
  auto* memory = static_cast<std::byte*>(
      ::operator new[](static_cast<std::size_t>(bytes), kAlignment));
  return {memory, [](std::byte* taken) { ::operator delete[](taken, kAlignment); }};
}

void CpuDevice::narrow(const float* from, std::uint16_t* into, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) into[i] = detail::float_to_bfloat16(from[i]);
}

void CpuDevice::widen(const std::uint16_t* from, float* into, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) into[i] = detail::bfloat16_to_float(from[i]);
}

}  // namespace hone::distributed

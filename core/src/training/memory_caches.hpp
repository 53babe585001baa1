#pragma once

#include <c10/core/Device.h>

namespace hone::detail {

/// Gives memory that is kept for reuse back: to the system on a CPU, to the device elsewhere. What
/// is computed does not change.
void release_memory_caches(c10::Device device);

}  // namespace hone::detail

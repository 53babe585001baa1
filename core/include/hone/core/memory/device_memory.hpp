#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace hone {

/// Gives memory that is kept for later tensors, and free, back to where it came from: a GPU, or for
/// the CPU the system.
void release_kept_memory(c10::Device device);

/// Bytes: on the CPU what this process had resident at most; on a GPU what its tensors took of it
/// at most, with what was kept for later ones.
std::int64_t peak_memory(c10::Device device);

}  // namespace hone

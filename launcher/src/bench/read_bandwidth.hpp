#pragma once

#include <c10/core/Device.h>

namespace hone::launcher {

/// Bytes a second that this process's compute threads read from memory together, or that its GPU
/// reads from its own: the best of a few passes over more than any cache holds, of a GPU
/// their mean. Takes a second at most.
double read_bandwidth(c10::Device device);

}  // namespace hone::launcher

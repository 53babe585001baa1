#pragma once

namespace hone::launcher {

/// Bytes a second that this process's compute threads read from memory together: the best of a few
/// passes over more than any cache holds. Takes a second.
double read_bandwidth();

}  // namespace hone::launcher

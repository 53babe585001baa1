#pragma once

#include <chrono>

namespace hone::detail {

/// Units: seconds since some moment of the past, for differences.
inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace hone::detail

#pragma once

#include <cstdint>
#include <string>

namespace hone::launcher {

/// "1 round", "2 rounds".
inline std::string counted(std::int64_t count, const std::string& word) {
  return std::to_string(count) + ' ' + word + (count == 1 ? "" : "s");
}

}  // namespace hone::launcher

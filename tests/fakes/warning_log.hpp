#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hone/core/logger.hpp"

namespace hone::testing {

/// Keeps warnings and errors, drops the rest.
class WarningLog final : public Logger {
 public:
  void write(LogLevel level, std::string_view message) override {
    if (level >= LogLevel::Warning) warnings.emplace_back(message);
  }
  std::vector<std::string> warnings;
};

}  // namespace hone::testing

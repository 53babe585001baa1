#pragma once

#include <string_view>

namespace hone {

enum class LogLevel { Debug, Info, Warning, Error };

/// Where the library reports to: it never prints by itself. The launcher implements it over spdlog,
/// tests over a vector of strings.
/// Thread-safety: implementations may be called from any thread.
class Logger {
 public:
  virtual ~Logger() = default;
  virtual void write(LogLevel level, std::string_view message) = 0;

  void debug(std::string_view message) { write(LogLevel::Debug, message); }
  void info(std::string_view message) { write(LogLevel::Info, message); }
  void warning(std::string_view message) { write(LogLevel::Warning, message); }
  void error(std::string_view message) { write(LogLevel::Error, message); }
};

/// Drops everything.
class NullLogger final : public Logger {
 public:
  void write(LogLevel, std::string_view) override {}
};

}  // namespace hone

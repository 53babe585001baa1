#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "loop_thread.hpp"

namespace hone::launcher::control {

/// Reports wait here for a log or a screen, so that heartbeats do not.
class Reporter {
 public:
  explicit Reporter(std::function<void(std::string_view)> report) : report_(std::move(report)) {}

  /// Returns at once. Without an effect where nobody is to be told.
  void report(std::string text) {
    if (!report_) return;
    asio::post(thread_.context(), [this, text = std::move(text)] { report_(text); });
  }

  /// Waits for what was reported.
  void stop() {
    thread_.stop([] {});
  }

 private:
  std::function<void(std::string_view)> report_;
  LoopThread thread_;
};

}  // namespace hone::launcher::control

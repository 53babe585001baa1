#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "hone/core/stop_signal.hpp"

namespace hone::launcher {

/// Turns signals into stop requests, on a thread of its own.
///
/// SIGUSR1 and SIGTERM ask to save and stop, SIGUSR2 to save and go on; the first SIGINT asks to
/// save and stop, the second ends the process at once. SIGPIPE is ignored: writing to a dead peer
/// is an error, not an end. Handlers are in place when the constructor returns (make one before
/// MPI_Init) and gone after the destructor. Interrupted system calls of other threads restart.
/// Thread-safety: all methods from any thread. One per process.
class SignalWatcher final : public StopSignal {
 public:
  /// `on_request` gets a line about each signal, on the watching thread.
  explicit SignalWatcher(std::function<void(std::string_view)> on_request);
  ~SignalWatcher() override;

  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

  StopRequest take() override;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace hone::launcher

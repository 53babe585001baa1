#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string_view>
#include <vector>

#include "hone/core/activity.hpp"
#include "hone/distributed/pulse.hpp"

namespace hone::distributed {

/// What a rank has done last: its phase and its latest collectives. Written by the rank's own
/// thread, read by the one that sends its heartbeats.
/// Thread-safety: all methods from any thread.
class FlightRecorder final : public Activity {
 public:
  void enter(std::string_view phase, bool is_regular = false) override;
  /// Optimizer updates applied so far.
  void note_step(std::int64_t step);

  /// A collective begins, ends. One within another, which a communicator makes for its own, is not
  /// recorded.
  void begin(const CollectiveCall& call);
  void end();

  /// This rank's work is done, and it waits for all others to come to their end.
  void leave();

  Pulse pulse() const;

 private:
  using Clock = std::chrono::steady_clock;
  /// The last durations of one regular phase, in seconds; older ones are overwritten.
  struct Durations {
    std::vector<double> seconds;
    std::size_t next = 0;
    void add(double value);
    double p99() const;
  };

  mutable std::mutex mutex_;
  std::string_view phase_;
  bool is_regular_ = false;
  Clock::time_point phase_began_ = Clock::now();
  std::map<std::string_view, Durations> durations_;
  std::int64_t num_phases_ = 0;
  std::int64_t step_ = 0;
  std::int64_t sequence_ = 0;
  int depth_ = 0;  ///< of collectives within each other
  bool is_leaving_ = false;
  std::array<CollectiveCall, kRecentCalls> calls_;  ///< of collective s at s % kRecentCalls
};

}  // namespace hone::distributed

#include "hone/distributed/flight_recorder.hpp"

#include <algorithm>

namespace hone::distributed {
namespace {

/// Enough for a 99th percentile, few enough to follow a run that changes.
constexpr std::size_t kKeptDurations = 256;
constexpr std::size_t kEnoughDurations = 20;

}  // namespace

void FlightRecorder::Durations::add(double value) {
  if (seconds.size() < kKeptDurations) {
    seconds.push_back(value);
    return;
  }
  seconds[next] = value;
  next = (next + 1) % kKeptDurations;
}

double FlightRecorder::Durations::p99() const {
  if (seconds.size() < kEnoughDurations) return 0.0;
  auto sorted = seconds;
  const auto place = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() * 99 / 100);
  std::nth_element(sorted.begin(), place, sorted.end());
  return *place;
}

void FlightRecorder::enter(std::string_view phase, bool is_regular) {
  const auto now = Clock::now();
  const std::scoped_lock lock{mutex_};
  if (is_regular_) {
    durations_[phase_].add(std::chrono::duration<double>(now - phase_began_).count());
  }
  phase_ = phase;
  ++num_phases_;
  is_regular_ = is_regular;
  phase_began_ = now;
}

void FlightRecorder::note_step(std::int64_t step) {
  const std::scoped_lock lock{mutex_};
  step_ = step;
}

void FlightRecorder::begin(const CollectiveCall& call) {
  const std::scoped_lock lock{mutex_};
  if (depth_++ > 0) return;
  ++sequence_;
  calls_[static_cast<std::size_t>(sequence_) % kRecentCalls] = call;
}

void FlightRecorder::end() {
  const std::scoped_lock lock{mutex_};
  --depth_;
}

void FlightRecorder::leave() {
  enter("leaving");
  const std::scoped_lock lock{mutex_};
  is_leaving_ = true;
}

Pulse FlightRecorder::pulse() const {
  const std::scoped_lock lock{mutex_};
  const auto found = durations_.find(phase_);
  Pulse pulse{.phase = std::string{phase_},
              .phase_p99 = found == durations_.end() ? 0.0 : found->second.p99(),
              .num_phases = num_phases_,
              .step = step_,
              .sequence = sequence_,
              .in_collective = depth_ > 0,
              .is_leaving = is_leaving_,
              .recent = {}};
  const auto first = std::max<std::int64_t>(1, sequence_ - std::int64_t{kRecentCalls} + 1);
  for (auto sequence = first; sequence <= sequence_; ++sequence) {
    pulse.recent.push_back(calls_[static_cast<std::size_t>(sequence) % kRecentCalls]);
  }
  return pulse;
}

}  // namespace hone::distributed

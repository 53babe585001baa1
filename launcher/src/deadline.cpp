#include "deadline.hpp"

#include <algorithm>
#include <utility>

namespace hone::launcher {
namespace {

using Seconds = std::chrono::duration<double>;

/// A slice that takes longer than twice its time was one in which the process was stopped.
constexpr Seconds kSlice{0.5};

}  // namespace

Deadline::Deadline(Seconds patience, std::function<void()> on_late)
    : on_late_(std::move(on_late)), thread_([this, patience] { wait(patience); }) {}

Deadline::~Deadline() {
  {
    const std::scoped_lock lock{mutex_};
    is_met_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Deadline::wait(Seconds patience) {
  {
    std::unique_lock lock{mutex_};
    while (patience.count() > 0) {
      const auto began = std::chrono::steady_clock::now();
      if (changed_.wait_for(lock, std::min(patience, kSlice), [&] { return is_met_; })) return;
      patience -= std::min<Seconds>(std::chrono::steady_clock::now() - began, 2 * kSlice);
    }
  }
  on_late_();
}

}  // namespace hone::launcher

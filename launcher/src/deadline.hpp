#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace hone::launcher {

/// Acts where something takes too long that nobody else watches, on a thread of its own. Time in
/// which this process was stopped does not count.
/// Thread-safety: construction and destruction by one thread.
class Deadline {
 public:
  /// `on_late` is called once, unless this is destroyed before `patience` is over.
  Deadline(std::chrono::duration<double> patience, std::function<void()> on_late);
  ~Deadline();
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

 private:
  void wait(std::chrono::duration<double> patience);

  std::function<void()> on_late_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_met_ = false;
  std::thread thread_;  ///< behind all that it uses
};

}  // namespace hone::launcher

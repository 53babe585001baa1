#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <limits>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace hone::checkpoints::detail {

/// Calls work(i) for each i below `count`, two at a time and in ascending order, so that a disk has
/// requests while digests are computed, and the memory while one core waits for it. Not more: a
/// disk gives less to many readers, each elsewhere, than to one. Throws what the smallest i throws
/// that throws; none is begun behind a failure.
template <typename Work>
void side_by_side(std::size_t count, const Work& work) {
  constexpr std::size_t kThreads = 2;
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::size_t failed = std::numeric_limits<std::size_t>::max();
  std::exception_ptr failure;
  const auto go = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        work(i);
      } catch (...) {
        const std::lock_guard lock{mutex};
        next = count;
        if (i < failed) failure = std::current_exception();
        failed = std::min(failed, i);
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    try {
      for (std::size_t i = 1; i < std::min(count, kThreads); ++i) threads.emplace_back(go);
    } catch (const std::system_error&) {  // fewer do as well
    }
    go();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace hone::checkpoints::detail

#pragma once

#include <chrono>
#include <exception>
#include <string>
#include <string_view>
#include <thread>

#include "hone/distributed/nccl_api.hpp"
#include "hone/distributed/nccl_communicator.hpp"

namespace hone::distributed::detail {

/// One ncclComm_t. All calls that take it go through here, so that none can follow its end, and all
/// of them are polled to a deadline, so that none waits for ever.
///
/// Ownership: of the NCCL communicator; aborted at destruction unless it was closed.
/// Thread-safety: one thread at a time.
/// Throws: CommunicatorError with the function and NCCL's text. NCCL takes nothing but abort()
/// then.
class NcclHandle {
 public:
  using Clock = std::chrono::steady_clock;

  NcclHandle(const NcclApi& api, const NcclTimes& times) : api_(api), times_(times) {}
  ~NcclHandle() { abort(); }
  NcclHandle(const NcclHandle&) = delete;
  NcclHandle& operator=(const NcclHandle&) = delete;

  NcclUniqueId make_unique_id() const;

  /// Joins the communicator of `id`. Collective.
  void open(const NcclUniqueId& id, int rank, int size);

  /// Finalizes and frees it. Collective; nothing may be queued any more.
  void close();

  /// Ends it with all that it still does, in a thread of its own, since NCCL may hang there.
  /// Returns what went wrong, or nothing. Without effect where it has ended already.
  std::string abort() noexcept;

  /// Whether NCCL has done what it was last asked for, as far as the host goes: launched on the
  /// stream.
  bool is_settled() const;

  /// Polls `is_done` until it is true. Throws: CommunicatorError at the deadline too.
  template <typename IsDone>
  void poll(std::chrono::milliseconds deadline, IsDone is_done) const;

  /// Queues one collective: `queue` calls NCCL and returns its result. Does not wait.
  template <typename Queue>
  void queue(std::string_view function, Queue queue) const;

  /// Queues what `queue_all` does as one group. It ends on every way out: an open group would catch
  /// all later calls of this thread.
  template <typename QueueAll>
  void queue_group(QueueAll queue_all) const;

 private:
  void check(std::string_view function, NcclResult result) const;
  [[noreturn]] void throw_late(std::chrono::milliseconds deadline) const;

  NcclApi api_;
  NcclTimes times_;
  NcclComm comm_ = nullptr;
};

template <typename IsDone>
void NcclHandle::poll(std::chrono::milliseconds deadline, IsDone is_done) const {
  const auto begin = Clock::now();
  while (!is_done()) {
    const auto waited = Clock::now() - begin;
    if (waited > deadline) throw_late(deadline);
    // A sum of a few kilobytes takes less than the shortest sleep.
    if (waited < times_.spin) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(times_.poll_interval);
    }
  }
}

template <typename Queue>
void NcclHandle::queue(std::string_view function, Queue queue) const {
  check(function, queue(api_, comm_));
}

template <typename QueueAll>
void NcclHandle::queue_group(QueueAll queue_all) const {
  check("ncclGroupStart", api_.group_start());
  std::exception_ptr error;
  try {
    queue_all();
  } catch (...) {
    error = std::current_exception();
  }
  const auto ended = api_.group_end();
  if (error) std::rethrow_exception(error);
  check("ncclGroupEnd", ended);
}

}  // namespace hone::distributed::detail

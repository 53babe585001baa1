#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <set>
#include <thread>
#include <utility>

#include "asio.hpp"

namespace hone::launcher::control {

/// An event loop on a thread of its own. Its coroutines wait by pause() and on sockets.
class LoopThread {
 public:
  LoopThread() : thread_([this] { context_.run(); }) {}
  ~LoopThread() { stop([] {}); }
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  asio::io_context& context() { return context_; }

  /// Runs a coroutine there; waits for its end, but no longer than `patience`. False where it has
  /// not ended, or ended by an exception.
  template <typename Coroutine>
  bool run(Coroutine coroutine, std::chrono::milliseconds patience) {
    auto done = std::make_shared<std::promise<bool>>();
    auto ended = done->get_future();
    asio::co_spawn(context_, std::move(coroutine),
                   [done](const std::exception_ptr& error) { done->set_value(error == nullptr); });
    return ended.wait_for(patience) == std::future_status::ready && ended.get();
  }

  /// Throws: system_error where the loop stops.
  asio::awaitable<void> pause(std::chrono::milliseconds time) {
    if (is_stopping_) throw system_error{asio::error::operation_aborted};
    asio::steady_timer timer{context_, time};
    timers_.insert(&timer);
    error_code ended;
    co_await timer.async_wait(asio::redirect_error(use_awaitable, ended));
    timers_.erase(&timer);
    if (ended || is_stopping_) throw system_error{asio::error::operation_aborted};
  }

  /// Ends all coroutines and the thread. `close_sockets` runs there first, to end those that wait
  /// on one: Boost 1.74 cannot destroy a coroutine that still waits.
  template <typename Function>
  void stop(Function close_sockets) {
    if (!thread_.joinable()) return;
    asio::post(context_, [this, close_sockets] {
      is_stopping_ = true;
      close_sockets();
      for (auto* timer : timers_) timer->cancel();
      work_.reset();
    });
    thread_.join();
  }

 private:
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
  std::set<asio::steady_timer*> timers_;  ///< of the pauses that are going on
  bool is_stopping_ = false;
  std::thread thread_;
};

}  // namespace hone::launcher::control

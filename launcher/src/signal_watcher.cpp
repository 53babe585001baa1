#include "hone/launcher/signal_watcher.hpp"

#include <signal.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <thread>
#include <utility>

namespace hone::launcher {
namespace {

struct SignalMeaning {
  StopRequest request;
  std::string_view note;
};

SignalMeaning meaning_of(int number) {
  switch (number) {
    case SIGUSR2: return {StopRequest::SaveAndContinue, "SIGUSR2: saving after this step"};
    case SIGUSR1:
      return {StopRequest::SaveAndStop, "SIGUSR1: saving after this step, then stopping"};
    case SIGTERM:
      return {StopRequest::SaveAndStop,
              "SIGTERM: saving after this step, then stopping, if there is time: where mpirun sent "
              "it, because a rank died or of Ctrl-C, it kills the ranks about a second later, and "
              "the last checkpoint counts"};
    default:
      return {StopRequest::SaveAndStop,
              "interrupted: saving after this step, then stopping; once more ends at once"};
  }
}

/// Asio installs its handlers without SA_RESTART; file and pipe calls elsewhere would fail by
/// EINTR.
void restart_interrupted_calls(int number) {
  struct sigaction action {};
  if (sigaction(number, nullptr, &action) != 0) return;
  action.sa_flags |= SA_RESTART;
  sigaction(number, &action, nullptr);
}

[[noreturn]] void end_at_once() {
  signal(SIGINT, SIG_DFL);
  raise(SIGINT);
  _exit(128 + SIGINT);
}

}  // namespace

struct SignalWatcher::Implementation {
  explicit Implementation(std::function<void(std::string_view)> callback)
      : on_request(std::move(callback)) {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &ignore, &former_pipe_action);
    for (const int number : {SIGUSR1, SIGUSR2, SIGTERM, SIGINT}) {
      signals.add(number);
      restart_interrupted_calls(number);
    }
    wait();
    thread = std::thread{[this] { context.run(); }};
  }

  ~Implementation() {
    context.stop();
    thread.join();
    sigaction(SIGPIPE, &former_pipe_action, nullptr);
  }

  void wait() {
    signals.async_wait([this](const boost::system::error_code& error, int number) {
      if (error) return;
      handle(number);
      wait();
    });
  }

  void handle(int number) {
    if (number == SIGINT && interrupted) end_at_once();
    interrupted = interrupted || number == SIGINT;
    const SignalMeaning meaning = meaning_of(number);
    raise_to(meaning.request);
    if (on_request) on_request(meaning.note);
  }

  void raise_to(StopRequest request) {
    StopRequest present = pending.load();
    while (present < request && !pending.compare_exchange_weak(present, request)) {
    }
  }

  std::function<void(std::string_view)> on_request;
  std::atomic<StopRequest> pending = StopRequest::None;
  bool interrupted = false;
  struct sigaction former_pipe_action {};
  boost::asio::io_context context{1};
  boost::asio::signal_set signals{context};
  std::thread thread;
};

SignalWatcher::SignalWatcher(std::function<void(std::string_view)> on_request)
    : implementation_(std::make_unique<Implementation>(std::move(on_request))) {}

SignalWatcher::~SignalWatcher() = default;

StopRequest SignalWatcher::take() {
  StopRequest present = StopRequest::SaveAndContinue;
  implementation_->pending.compare_exchange_strong(present, StopRequest::None);
  return present;
}

}  // namespace hone::launcher

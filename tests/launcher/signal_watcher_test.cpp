#include "hone/launcher/signal_watcher.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

namespace hone::launcher {
namespace {

/// A watcher whose notes can be waited for: signals arrive on another thread.
class Watched {
 public:
  void raise_and_wait(int number) {
    const std::size_t before = notes().size();
    ::raise(number);
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [&] { return notes_.size() > before; });
  }
  std::vector<std::string> notes() {
    const std::lock_guard lock{mutex_};
    return notes_;
  }
  StopRequest take() { return watcher_.take(); }

 private:
  void note(std::string_view text) {
    const std::lock_guard lock{mutex_};
    notes_.emplace_back(text);
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> notes_;
  SignalWatcher watcher_{[this](std::string_view text) { note(text); }};
};

TEST(SignalWatcher, AsksForNothingByItself) {
  Watched watched;
  EXPECT_EQ(watched.take(), StopRequest::None);
}

TEST(SignalWatcher, Usr1StopsAndStays) {
  Watched watched;
  watched.raise_and_wait(SIGUSR1);
  EXPECT_EQ(watched.take(), StopRequest::SaveAndStop);
  EXPECT_EQ(watched.take(), StopRequest::SaveAndStop);
}

TEST(SignalWatcher, Usr2SavesOnce) {
  Watched watched;
  watched.raise_and_wait(SIGUSR2);
  EXPECT_EQ(watched.take(), StopRequest::SaveAndContinue);
  EXPECT_EQ(watched.take(), StopRequest::None);
  watched.raise_and_wait(SIGUSR2);
  EXPECT_EQ(watched.take(), StopRequest::SaveAndContinue);
}

TEST(SignalWatcher, ALaterUsr2DoesNotTakeAStopBack) {
  Watched watched;
  watched.raise_and_wait(SIGUSR1);
  watched.raise_and_wait(SIGUSR2);
  EXPECT_EQ(watched.take(), StopRequest::SaveAndStop);
}

TEST(SignalWatcher, TermAndTheFirstInterruptStop) {
  for (const int number : {SIGTERM, SIGINT}) {
    Watched watched;
    watched.raise_and_wait(number);
    EXPECT_EQ(watched.take(), StopRequest::SaveAndStop);
  }
}

TEST(SignalWatcher, TermDoesNotPromiseWhatMpirunMayPrevent) {
  Watched watched;
  watched.raise_and_wait(SIGTERM);
  EXPECT_NE(watched.notes().at(0).find("if there is time"), std::string::npos);
}

TEST(SignalWatcher, TheSecondInterruptEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        Watched watched;
        watched.raise_and_wait(SIGINT);
        ::raise(SIGINT);
        while (true) pause();
      },
      ::testing::KilledBySignal(SIGINT), "");
}

TEST(SignalWatcher, ABrokenPipeIsAnErrorOnly) {
  Watched watched;
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  EXPECT_EQ(write(ends[1], "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
  close(ends[1]);
}

TEST(SignalWatcher, HandlersRestartSystemCallsAndGoWithIt) {
  struct sigaction action {};
  {
    Watched watched;
    for (const int number : {SIGUSR1, SIGUSR2, SIGTERM, SIGINT}) {
      sigaction(number, nullptr, &action);
      EXPECT_NE(action.sa_handler, SIG_DFL);
      EXPECT_NE(action.sa_flags & SA_RESTART, 0);
    }
  }
  for (const int number : {SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGPIPE}) {
    sigaction(number, nullptr, &action);
    EXPECT_EQ(action.sa_handler, SIG_DFL);
  }
}

}  // namespace
}  // namespace hone::launcher

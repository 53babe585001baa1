#include "deadline.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <future>

namespace hone::launcher {
namespace {

using std::chrono::milliseconds;

TEST(Deadline, ActsOnceWhenTheTimeIsOver) {
  std::promise<void> late;
  const auto began = std::chrono::steady_clock::now();
  const Deadline deadline{milliseconds{700}, [&] { late.set_value(); }};
  ASSERT_EQ(late.get_future().wait_for(std::chrono::seconds{10}), std::future_status::ready);
  EXPECT_GE(std::chrono::steady_clock::now() - began, milliseconds{700});
}

TEST(Deadline, DoesNothingWhereItIsMet) {
  bool is_late = false;
  { const Deadline deadline{std::chrono::seconds{60}, [&] { is_late = true; }}; }
  EXPECT_FALSE(is_late);
}

TEST(Deadline, TimeInWhichTheProcessWasStoppedDoesNotCount) {
  const pid_t child = ::fork();
  if (child == 0) {
    const Deadline deadline{std::chrono::seconds{2}, [] { _exit(1); }};
    std::this_thread::sleep_for(milliseconds{200});  // it waits by now
    ::raise(SIGSTOP);
    std::this_thread::sleep_for(milliseconds{300});
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
  ASSERT_TRUE(WIFSTOPPED(status));
  std::this_thread::sleep_for(std::chrono::seconds{3});
  ::kill(child, SIGCONT);
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace hone::launcher

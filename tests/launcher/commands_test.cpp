#include "hone/launcher/commands.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <chrono>
#include <csignal>
#include <sstream>
#include <thread>

namespace hone::launcher {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

struct Ran {
  int code = 0;
  std::string out, err;
};

Ran run(const std::vector<std::string>& arguments, const LaunchEnvironment& environment = {}) {
  std::ostringstream out, err;
  Screen screen{Terminal{}, out, err};
  const int code = run_program(arguments, environment, screen);
  return {code, out.str(), err.str()};
}

TEST(Program, HelpListsEveryCommand) {
  const Ran ran = run({"--help"});
  EXPECT_EQ(ran.code, 0);
  for (const Command& command : commands()) {
    EXPECT_THAT(ran.out, HasSubstr(std::string{command.name} + ' '));
    EXPECT_THAT(ran.out, HasSubstr(std::string{command.summary}));
  }
}

TEST(Program, NothingAtAllIsWrongUsageWithTheSameText) {
  const Ran ran = run({});
  EXPECT_EQ(ran.code, 64);
  EXPECT_EQ(ran.err, run({"--help"}).out);
}

TEST(Program, VersionIsOneLine) { EXPECT_THAT(run({"--version"}).out, StartsWith("hone ")); }

TEST(Program, AnUnknownCommandNamesTheNearest) {
  const Ran ran = run({"inspcet"});
  EXPECT_EQ(ran.code, 64);
  EXPECT_EQ(ran.err,
            "error: unknown command \"inspcet\". Did you mean \"inspect\"? All commands: hone "
            "--help\n  exit code 64\n");
}

TEST(Program, EveryCommandHasHelpAndRefusesUnknownOptions) {
  for (const Command& command : commands()) {
    const std::string name{command.name};
    const Ran help = run({name, "--help"});
    EXPECT_EQ(help.code, 0);
    EXPECT_THAT(help.out, StartsWith("Usage: hone " + name));
    const Ran wrong = run({name, "--no_such_option_at_all"});
    EXPECT_EQ(wrong.code, 64);
    EXPECT_THAT(wrong.err, HasSubstr("unknown option \"--no_such_option_at_all\""));
    EXPECT_THAT(wrong.err, HasSubstr("hone " + name + " --help"));
  }
}

TEST(Program, OnlyRank0ShowsHelp) {
  const Ran help = run({"--help"}, LaunchEnvironment{.rank = 1, .size = 2});
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.out, IsEmpty());
}

/// As mpirun ends every rank a while after rank 0 has left with the same error.
TEST(Program, ARankThatIsEndedLeavesTheErrorToRank0) {
  sigset_t end;
  sigset_t before;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &end, &before), 0);
  std::thread mpirun{[rank = pthread_self()] {
    std::this_thread::sleep_for(std::chrono::milliseconds{200});
    pthread_kill(rank, SIGTERM);
  }};
  const Ran wrong = run({"env", "--nonsense"}, LaunchEnvironment{.rank = 1, .size = 2});
  mpirun.join();
  const timespec at_once{};
  EXPECT_EQ(sigtimedwait(&end, nullptr, &at_once), -1) << "the rank has not waited for its end";
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
  EXPECT_EQ(wrong.code, 64);
  EXPECT_THAT(wrong.err, IsEmpty());
}

TEST(Inspect, NamesWhatIsNotThere) {
  const Ran ran = run({"inspect", "/no/such/folder"});
  EXPECT_EQ(ran.code, 66);
  EXPECT_THAT(ran.err, HasSubstr("/no/such/folder"));
  EXPECT_THAT(run({"inspect"}).err, HasSubstr("path is required"));
}

}  // namespace
}  // namespace hone::launcher

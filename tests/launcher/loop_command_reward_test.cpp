#include "hone/launcher/loop/command_reward.hpp"

#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes/temp_dir.hpp"
#include "hone/core/error.hpp"

namespace hone::launcher {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kPatient{20'000};
constexpr milliseconds kShort{300};

std::size_t num_open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator{"/proc/self/fd"})
    ++count;
  return count;
}

bool has_children() {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/// A process that runs, zombies aside.
bool is_running(pid_t pid) {
  std::ifstream stat{"/proc/" + std::to_string(pid) + "/stat"};
  std::string text;
  std::getline(stat, text);
  const auto state = text.rfind(')');
  return state != std::string::npos && text.substr(state + 2, 1) != "Z";
}

/// Waits for what another process does, up to a generous limit.
template <typename Condition>
bool comes_true(Condition&& condition) {
  const auto limit = steady_clock::now() + kPatient;
  while (!condition()) {
    if (steady_clock::now() > limit) return false;
    std::this_thread::sleep_for(milliseconds{1});
  }
  return true;
}

/// Every test ends with the descriptors it began with and without children, zombies included.
class CommandRewardTest : public ::testing::Test {
 protected:
  void SetUp() override {
    descriptors_before_ = num_open_descriptors();
    ASSERT_FALSE(has_children());
  }
  void TearDown() override {
    EXPECT_EQ(num_open_descriptors(), descriptors_before_);
    EXPECT_FALSE(has_children());
  }

  /// A worker that runs these lines of shell.
  std::vector<std::string> shell(const std::string& lines) {
    const auto path = dir_.write("worker.sh", "#!/bin/sh\n" + lines + "\n");
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return {path.string()};
  }

  std::vector<Completion> completions(int count) {
    std::vector<Completion> all;
    for (int k = 0; k < count; ++k) {
      all.push_back({.prompt_index = 0, .k = k, .prompt = "p", .completion = "c", .row = &row_});
    }
    return all;
  }

  std::string complaint(const std::string& lines, int count = 3, milliseconds timeout = kPatient) {
    CommandReward reward{shell(lines), timeout};
    try {
      reward.score(completions(count));
    } catch (const InputError& error) {
      return error.what();
    }
    return "no error";
  }

  hone::testing::TempDir dir_;
  PromptRow row_{std::string{"p"}, R"({"prompt": "p", "answer": [1, 2.50]})", "prompts.jsonl:7"};

 private:
  std::size_t descriptors_before_ = 0;
};

constexpr const char* kAnswersHalf = "while read -r line; do echo 0.5; done";

TEST_F(CommandRewardTest, TakesNumbersAndObjects) {
  CommandReward reward{shell("read -r l; echo 1\n"
                             "read -r l; echo '{\"reward\": -2.5e1, \"why\": \"x\"}'\n"
                             "read -r l; echo '{\"index\": 2, \"reward\": 0}'\n"
                             "cat > /dev/null"),
                       kPatient};
  EXPECT_THAT(reward.score(completions(3)), ElementsAre(1, -25, 0));
}

TEST_F(CommandRewardTest, SendsEverythingAsOneJsonLineEach) {
  auto both = completions(2);
  both[1].prompt = "line one\nline \"two\" $(touch x) ; `id`";
  both[1].completion = "caf\xC3\xA9 \xFF";
  const auto log = dir_.path() / "log";
  CommandReward reward{
      {shell("while read -r line; do printf '%s\\n' \"$line\" >> \"$1\"; echo 1; done")[0],
       log.string()},
      kPatient};
  reward.score(both);
  EXPECT_EQ(dir_.read("log"),
            "{\"completion\":\"c\",\"index\":0,\"prompt\":\"p\",\"row\":{\"answer\":[1,2.5],"
            "\"prompt\":\"p\"}}\n"
            "{\"completion\":\"caf\xC3\xA9 \xEF\xBF\xBD\",\"index\":1,"
            "\"prompt\":\"line one\\nline \\\"two\\\" $(touch x) ; `id`\","
            "\"row\":{\"answer\":[1,2.5],\"prompt\":\"p\"}}\n");
}

TEST_F(CommandRewardTest, OneWorkerServesAllCalls) {
  CommandReward reward{shell("n=0; while read -r line; do n=$((n+1)); echo $n; done"), kPatient};
  reward.start();
  EXPECT_THAT(reward.score(completions(2)), ElementsAre(1, 2));
  EXPECT_THAT(reward.score({}), ElementsAre());
  EXPECT_THAT(reward.score(completions(2)), ElementsAre(3, 4));
}

TEST_F(CommandRewardTest, ManyCompletionsDoNotFillThePipesUp) {
  // More than a pipe holds in both directions, by a worker that answers as it reads.
  auto many = completions(20'000);
  CommandReward reward{{"sed", "-u", "s/.*/0.25/"}, kPatient};
  const auto rewards = reward.score(many);
  EXPECT_EQ(rewards.size(), 20'000U);
  EXPECT_THAT(rewards, Each(0.25));
}

TEST_F(CommandRewardTest, AWorkerThatEndsAfterItsAnswersIsStartedAnew) {
  CommandReward reward{shell("read -r a; echo 1; read -r b; echo 2"), kPatient};
  for (int call = 0; call < 5; ++call) {
    EXPECT_THAT(reward.score(completions(2)), ElementsAre(1, 2));
  }
}

TEST_F(CommandRewardTest, ALastAnswerWithoutALineEndCounts) {
  CommandReward reward{shell("read -r a; echo 1; read -r b; printf 2"), kPatient};
  EXPECT_THAT(reward.score(completions(2)), ElementsAre(1, 2));
}

TEST_F(CommandRewardTest, AnErrorSaysWhoWhatAndWhy) {
  EXPECT_THAT(complaint("read -r l; echo 1; echo 'Traceback: \033[31mKeyError' >&2; exit 3"),
              AllOf(HasSubstr("reward command ["), HasSubstr("worker.sh]"),
                    HasSubstr("ended with exit status 3, with 1 of 3 answered"),
                    HasSubstr("completion 1 (prompts.jsonl:7, k 1)"),
                    HasSubstr("last lines of its standard error:\n  Traceback: \\x1b[31mKeyError"),
                    Not(HasSubstr("\x1b"))));
}

TEST_F(CommandRewardTest, AWorkerThatDiesIsReported) {
  EXPECT_THAT(complaint("exit 0"), HasSubstr("ended with exit status 0, with 0 of 3 answered"));
  EXPECT_THAT(complaint("read -r l; kill -SEGV $$"), HasSubstr("signal 11 (Segmentation fault)"));
  EXPECT_THAT(complaint("read -r l; kill -KILL $$"), HasSubstr("signal 9 (Killed)"));
  // Before it has read anything, with more to write than a pipe holds: SIGPIPE must not kill us.
  EXPECT_THAT(complaint("exit 4", 20'000), HasSubstr("ended with exit status 4"));
}

TEST_F(CommandRewardTest, GarbageIsReportedWithWhatCameBack) {
  for (const char* garbage :
       {"abc", "nan", "NaN", "inf", "-Infinity", "0x10", "1,5", "1e999", "", "true", "null", "[1]",
        "\"1\"", "{\"score\": 1}", "{\"reward\": \"1\"}", "{\"reward\": null}", "1 2", "+1",
        "{\"reward\": 1} x"}) {
    EXPECT_THAT(complaint("read -r l; echo 1; read -r l; echo '" + std::string{garbage} +
                          "'; cat >/dev/null"),
                AllOf(HasSubstr("answered completion 1 (prompts.jsonl:7, k 1) with \"" +
                                std::string{garbage} + "\""),
                      HasSubstr("expected a JSON number or {\"reward\": number}")))
        << garbage;
  }
  EXPECT_THAT(complaint("read -r l; printf '\\033[2J\\377\\n'; cat >/dev/null"),
              AllOf(HasSubstr("\\x1b[2J\\xff"), Not(HasSubstr("\x1b"))));
}

TEST_F(CommandRewardTest, AnswersOutOfOrderAreReported) {
  EXPECT_THAT(complaint("echo '{\"index\": 1, \"reward\": 1}'; cat >/dev/null"),
              HasSubstr("expected index 0"));
}

TEST_F(CommandRewardTest, TooManyAnswersAreReported) {
  EXPECT_THAT(complaint("printf '1\\n1\\n1\\n1\\n'; cat >/dev/null"),
              HasSubstr("more than one line per"));
  CommandReward reward{
      shell("read -r l; echo 1; touch \"$0.on\"; while [ ! -e \"$0.go\" ]; do sleep 0.01; done;"
            " echo late; touch \"$0.done\"; cat >/dev/null"),
      kPatient};
  reward.score(completions(1));
  dir_.write("worker.sh.go", "");
  ASSERT_TRUE(comes_true([&] { return std::filesystem::exists(dir_.path() / "worker.sh.done"); }));
  try {
    reward.score(completions(1));
    FAIL() << "a line too many was taken for an answer";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("more than one line per completion: \"late\\n\""));
  }
}

TEST_F(CommandRewardTest, ASilentWorkerIsKilledAtItsTimeout) {
  const auto begin = steady_clock::now();
  EXPECT_THAT(
      complaint("read -r l; echo 1; echo thinking >&2; sleep 1000", 3, kShort),
      AllOf(HasSubstr("was silent until its timeout of 0.3 s"), HasSubstr("1 of 3 answered"),
            HasSubstr("and flush"), HasSubstr("\n  thinking")));
  EXPECT_LT(steady_clock::now() - begin, kShort + milliseconds{5000});
}

TEST_F(CommandRewardTest, AWorkerThatNeverReadsIsKilledAtItsTimeout) {
  EXPECT_THAT(complaint("sleep 1000", 20'000, kShort), HasSubstr("0 of 20000 answered"));
}

TEST_F(CommandRewardTest, AFloodIsCutOff) {
  EXPECT_THAT(complaint("yes 1"), HasSubstr("more than one line per completion"));
  EXPECT_THAT(complaint("yes ''"), HasSubstr("expected a JSON number"));
  EXPECT_THAT(complaint("tr '\\0' x < /dev/zero"), HasSubstr("more than 1 MiB without a line end"));
  EXPECT_THAT(complaint("yes complaint >&2", 3, kShort),
              AllOf(HasSubstr("was silent until"), HasSubstr("\n  complaint")));
}

TEST_F(CommandRewardTest, ClosedPipesAreReported) {
  EXPECT_THAT(complaint("exec <&-; sleep 1000", 20'000),
              HasSubstr("closed its standard input before"));
  EXPECT_THAT(complaint("exec >&-; sleep 1000"), HasSubstr("closed its standard output"));
}

TEST_F(CommandRewardTest, ChildrenOfTheWorkerDieWithIt) {
  const auto pid_of_child = [&] {
    return static_cast<pid_t>(std::atoi(dir_.read("worker.sh.child").c_str()));
  };
  const std::string leaves_child = "sleep 1000 & echo $! > \"$0.child\"; ";
  // It dies and leaves a child that holds its output open.
  EXPECT_THAT(complaint(leaves_child + "exit 5"), HasSubstr("ended with exit status 5"));
  ASSERT_GT(pid_of_child(), 0);
  EXPECT_TRUE(comes_true([&] { return !is_running(pid_of_child()); }));
  // It answers garbage.
  EXPECT_THAT(complaint(leaves_child + "echo x; wait"), HasSubstr("with \"x\""));
  EXPECT_TRUE(comes_true([&] { return !is_running(pid_of_child()); }));
  // All is well and the run ends.
  {
    CommandReward reward{shell(leaves_child + kAnswersHalf), kPatient};
    reward.score(completions(1));
  }
  EXPECT_TRUE(comes_true([&] { return !is_running(pid_of_child()); }));
}

TEST_F(CommandRewardTest, AnIdleWorkerMayFinishItsWork) {
  {
    CommandReward reward{shell(std::string{kAnswersHalf} + "; touch \"$0.finished\""), kPatient};
    reward.score(completions(1));
  }
  EXPECT_TRUE(std::filesystem::exists(dir_.path() / "worker.sh.finished"));
}

TEST_F(CommandRewardTest, AnIdleWorkerThatDoesNotEndIsKilled) {
  const auto begin = steady_clock::now();
  {
    CommandReward reward{shell("trap '' TERM HUP; read -r l; echo 1; while :; do sleep 1000; done"),
                         kPatient};
    reward.score(completions(1));
  }
  EXPECT_LT(steady_clock::now() - begin, kPatient);
}

TEST_F(CommandRewardTest, AfterAFailureTheNextCallStartsAfresh) {
  CommandReward reward{shell("if [ -e \"$0.second\" ]; then while read -r l; do echo 1; done; fi; "
                             "touch \"$0.second\"; echo bad; cat >/dev/null"),
                       kPatient};
  EXPECT_THROW(reward.score(completions(2)), InputError);
  ASSERT_TRUE(
      comes_true([&] { return std::filesystem::exists(dir_.path() / "worker.sh.second"); }));
  EXPECT_THAT(reward.score(completions(2)), ElementsAre(1, 1));
}

TEST_F(CommandRewardTest, TheWorkerInheritsNoDescriptorAndNoRank) {
  const int leaked = ::dup(0);  // without close-on-exec
  ASSERT_GE(leaked, 0);
  ::setenv("OMPI_COMM_WORLD_RANK", "3", 1);
  ::setenv("PMIX_RANK", "3", 1);
  CommandReward reward{
      shell("ls /proc/$$/fd > \"$0.fds\"; env > \"$0.env\"; " + std::string{kAnswersHalf}),
      kPatient};
  reward.score(completions(1));
  ::close(leaked);
  ::unsetenv("OMPI_COMM_WORLD_RANK");
  ::unsetenv("PMIX_RANK");
  const std::string fds = dir_.read("worker.sh.fds");
  // 0, 1 (the listing's own output), 2 and 10 or 255, where the shell keeps its script.
  EXPECT_THAT(fds, Not(HasSubstr("\n" + std::to_string(leaked) + "\n")));
  const std::string environment = dir_.read("worker.sh.env");
  EXPECT_THAT(environment, AllOf(HasSubstr("PATH="), HasSubstr("PYTHONUNBUFFERED=1"),
                                 Not(HasSubstr("OMPI_")), Not(HasSubstr("PMIX_"))));
}

TEST_F(CommandRewardTest, SignalsAreAsTheProgramExpects) {
  const auto old_handler = ::signal(SIGPIPE, SIG_IGN);
  sigset_t blocked;
  sigset_t before;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
  // Builtins only: the shell itself blocks signals for a moment when it starts a program.
  CommandReward reward{
      shell("while read -r l; do case $l in SigBlk*|SigIgn*) echo \"$l\";; esac; done"
            " < /proc/$$/status > \"$0.signals\"; " +
            std::string{kAnswersHalf}),
      kPatient};
  reward.score(completions(1));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::signal(SIGPIPE, old_handler);
  EXPECT_EQ(dir_.read("worker.sh.signals"),
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_F(CommandRewardTest, TheWorkerDiesWithAKilledRank) {
  // A rank that is killed runs no destructor; its worker must not live on and hold a machine.
  const auto argv =
      shell("echo $$ > \"$0.pid.tmp\"; mv \"$0.pid.tmp\" \"$0.pid\"; while :; do sleep 1000; done");
  const pid_t rank = ::fork();
  if (rank == 0) {
    CommandReward reward{argv, kPatient};
    reward.start();
    for (;;) ::pause();
  }
  const auto pid_file = dir_.path() / "worker.sh.pid";
  ASSERT_TRUE(comes_true([&] { return std::filesystem::exists(pid_file); }));
  const pid_t worker = std::atoi(dir_.read("worker.sh.pid").c_str());
  EXPECT_TRUE(is_running(worker));
  ::kill(rank, SIGKILL);
  ::waitpid(rank, nullptr, 0);
  EXPECT_TRUE(comes_true([&] { return !is_running(worker); }));
  ::killpg(worker, SIGKILL);  // its sleep
}

TEST_F(CommandRewardTest, AProgramThatCannotStartIsALaunchError) {
  const auto path = dir_.write("broken", "no interpreter line\n");
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  CommandReward no_interpreter_line{{path.string()}, kPatient};
  EXPECT_THROW(no_interpreter_line.start(), LaunchError);
  const auto absent = dir_.write("absent", "#!/no/such/interpreter\n");
  std::filesystem::permissions(absent, std::filesystem::perms::owner_all);
  CommandReward no_interpreter{{absent.string()}, kPatient};
  EXPECT_THROW(no_interpreter.score(completions(1)), LaunchError);
}

}  // namespace
}  // namespace hone::launcher

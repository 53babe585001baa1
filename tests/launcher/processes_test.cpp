#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

namespace hone::launcher {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// mpirun has the last word: of a rank that was killed and one that lost it the first it hears of.
constexpr int kKilled = 137;
constexpr int kStopped = 75;

struct Ran {
  int code = -1;
  std::string output;  ///< both streams
};

Ran shell(const std::string& command) {
  Ran ran;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  std::array<char, 4096> buffer;
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    ran.output.append(buffer.data(), count);
  }
  const int status = pclose(pipe);
  ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

/// Seconds that `work` took.
template <typename Function>
double seconds_of(Function&& work) {
  const auto started = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

Ran hone(const std::string& arguments) { return shell(HONE_PROGRAM " " + arguments); }

Ran hone_on_two(const std::string& arguments) {
  return shell(HONE_MPIRUN " -np 2 " HONE_PROGRAM " " + arguments);
}

/// Processes of the probe that still run a second later: mpirun does not wait for those that it has
/// killed. The bracket keeps the command from finding itself.
int orphans() {
  int found = 0;
  for (int tries = 0; tries < 10; ++tries) {
    found = std::stoi(
        shell("ps -eo stat=,args= | grep '[s]ession_probe' | grep -vc '^Z' || true").output);
    if (found == 0) break;
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
  }
  return found;
}

class Sessions : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path{::testing::TempDir()} /
              (std::string{"session_"} +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Ran probe_on(int ranks, const std::string& scenario, const std::string& more = "") const {
    return shell(HONE_MPIRUN " -np " + std::to_string(ranks) + " " HONE_SESSION_PROBE " " +
                 scenario + ' ' + folder_.string() + ' ' + more);
  }
  nlohmann::json record(int rank) const {
    std::ifstream file{folder_ / "exit" / ("rank-" + std::to_string(rank) + ".json")};
    return nlohmann::json::parse(file, nullptr, false);
  }
  std::string log_text(int rank) const {
    std::ifstream file{folder_ / "logs" / ("rank-" + std::to_string(rank) + ".log")};
    return {std::istreambuf_iterator<char>{file}, {}};
  }

  std::filesystem::path folder_;
};

TEST(HoneProgram, AWrongFlagOnTwoRanksIsToldOnce) {
  const Ran ran = hone_on_two("env --jsn");
  EXPECT_EQ(ran.code, 64);
  EXPECT_EQ(count(ran.output, "error:"), 1) << ran.output;
  EXPECT_EQ(count(ran.output, "Did you mean \"--json\"?"), 1) << ran.output;
}

TEST(HoneProgram, HelpOnTwoRanksIsToldOnce) {
  const Ran ran = hone_on_two("env --help");
  EXPECT_EQ(ran.code, 0);
  EXPECT_EQ(count(ran.output, "Usage:"), 1) << ran.output;
}

TEST(HoneProgram, EnvIsJson) {
  const Ran ran = hone("env --json");
  ASSERT_EQ(ran.code, 0);
  const auto json = nlohmann::json::parse(ran.output);
  for (const char* name : {"hone", "torch", "mpi", "hdf5", "compiler"}) {
    EXPECT_TRUE(json["versions"].contains(name)) << name;
  }
  EXPECT_EQ(json["start"]["started_by"], "hand");
}

TEST(HoneProgram, LoadsNoCudaPartOfTheTensorLibrary) {
  const Ran ran = shell("LD_TRACE_LOADED_OBJECTS=1 " HONE_PROGRAM);
  EXPECT_THAT(ran.output, HasSubstr("libtorch_cpu"));
  EXPECT_THAT(ran.output, Not(HasSubstr("libtorch_cuda")));
}

TEST(HoneProgram, EnvKnowsMpirun) {
  const Ran ran = hone_on_two("env --json");
  const auto json = nlohmann::json::parse(ran.output);
  EXPECT_EQ(json["start"]["started_by"], "mpirun");
  EXPECT_EQ(json["start"]["ranks"], 2);
}

TEST(HoneProgram, EnvDoesNotShowSecrets) {
  const Ran ran = shell("HF_TOKEN=hf_secret OMP_NUM_THREADS=3 " HONE_PROGRAM " env");
  EXPECT_THAT(ran.output, HasSubstr("OMP_NUM_THREADS"));
  EXPECT_THAT(ran.output, Not(HasSubstr("hf_secret")));
}

TEST(HoneProgram, NoCommandOnOneRankIsTold) {
  const Ran ran = shell(HONE_MPIRUN " -np 1 " HONE_PROGRAM " env : -np 1 " HONE_PROGRAM);
  EXPECT_EQ(ran.code, 64);
  EXPECT_EQ(count(ran.output, "Usage: hone COMMAND"), 1) << ran.output;
}

TEST(HoneProgram, AnErrorOfOneRankBeforeMpiIsTold) {
  const Ran ran = shell(HONE_MPIRUN " -np 1 " HONE_PROGRAM " env : -np 1 " HONE_PROGRAM " env --jsn");
  EXPECT_EQ(ran.code, 64);
  EXPECT_EQ(count(ran.output, "error: [rank 1] unknown option"), 1) << ran.output;
}

TEST_F(Sessions, RefuseStartsThatDiffer) {
  const auto rank = [&](const std::string& backend, const std::string& watchdog) {
    return " -np 1 " HONE_SESSION_PROBE " finish " + folder_.string() + ' ' + backend + " 20 " +
           watchdog;
  };
  const auto expect_refused = [&](const std::string& backend, const std::string& watchdog,
                                  const std::string& said) {
    Ran ran;
    const double seconds = seconds_of([&] {
      ran = shell("timeout -s KILL 60 " HONE_MPIRUN + rank("auto", "abort") + " :" +
                  rank(backend, watchdog));
    });
    EXPECT_LT(seconds, 15.0) << "one waited for the other";
    EXPECT_EQ(ran.code, 64) << ran.output;
    EXPECT_EQ(count(ran.output, said + ". Give all ranks the same"), 1) << ran.output;
  };
  for (const std::string other : {"off", "report"}) {
    expect_refused("auto", other,
                   "rank 1 was given --watchdog " + other + ", rank 0 --watchdog abort");
  }
  for (const std::string other : {"nccl", "loopback"}) {
    expect_refused(other, "abort",
                   "rank 1 was given --ddp_backend " + other + ", rank 0 --ddp_backend auto");
  }
  const Ran ran = probe_on(2, "shared_by_rank_1");
  EXPECT_EQ(ran.code, 64) << ran.output;
  EXPECT_EQ(count(ran.output, "rank 1 was given --allow_shared_device true, rank 0 "
                              "--allow_shared_device false. Give all ranks the same"), 1) << ran.output;
}

TEST_F(Sessions, FinishOnOneAndTwoRanks) {
  EXPECT_THAT(probe_on(1, "finish").output, HasSubstr("1 rank, cpu, 1 thread\n"));
  const Ran two = probe_on(2, "finish");
  EXPECT_EQ(two.code, 0);
  EXPECT_EQ(count(two.output, "2 ranks on 1 node, cpu, mpi, 1 thread each"), 1) << two.output;
  EXPECT_EQ(record(0), (nlohmann::json{{"code", 0}, {"reason", "finished"}, {"step", 0}}));
  EXPECT_EQ(record(1)["code"], 0);
}

TEST_F(Sessions, StopTogetherWhenOneRankIsAsked) {
  const Ran ran = probe_on(2, "stop");
  EXPECT_EQ(ran.code, 75) << ran.output;
  for (const int rank : {0, 1}) {
    EXPECT_EQ(record(rank), (nlohmann::json{{"code", 75}, {"reason", "stopped"}, {"step", 7}}));
  }
  EXPECT_THAT(ran.output, HasSubstr("SIGUSR1: saving after this step, then stopping"));
}

TEST_F(Sessions, TellAnAgreedErrorOnce) {
  const Ran ran = probe_on(2, "agreed");
  EXPECT_EQ(ran.code, 65);
  EXPECT_EQ(count(ran.output, "error: "), 1) << ran.output;
  EXPECT_THAT(ran.output, HasSubstr("error: [rank 1] line 12 is malformed\n  exit code 65, log: "));
  EXPECT_EQ(record(0)["code"], 65);
  EXPECT_EQ(record(1)["code"], 65);
  EXPECT_THAT(log_text(1), HasSubstr("line 12 is malformed"));
}

TEST_F(Sessions, TellTheSameErrorOfAllRanksOnce) {
  const Ran ran = probe_on(2, "alike");
  EXPECT_EQ(ran.code, 66);
  EXPECT_EQ(count(ran.output, "no such directory"), 1) << ran.output;
  EXPECT_THAT(ran.output, HasSubstr("[rank 0 @ "));
}

TEST_F(Sessions, EndTheJobWhereOneRankFailsAlone) {
  const Ran ran = probe_on(2, "alone");
  EXPECT_EQ(ran.code, 65);
  EXPECT_EQ(count(ran.output, "only here"), 1) << ran.output;
  EXPECT_THAT(ran.output, HasSubstr("error: [rank 1 @ "));
  EXPECT_EQ(record(1)["code"], 65);
  EXPECT_EQ(record(0)["code"], 65);
  EXPECT_THAT(record(0)["reason"], AllOf(HasSubstr("[rank 1 @ "), HasSubstr("only here")));
}

TEST_F(Sessions, TellTheCauseThatComesAfterItsConsequence) {
  const Ran ran = probe_on(3, "cause_after_consequence");
  EXPECT_EQ(ran.code, 65) << ran.output;
  EXPECT_EQ(count(ran.output, "error: "), 1) << ran.output;
  EXPECT_EQ(count(ran.output, "error: [rank 2 @ "), 1) << ran.output;
  for (const int rank : {0, 2}) EXPECT_THAT(record(rank)["reason"], HasSubstr("only here"));
}

TEST_F(Sessions, EndWhereNobodyReadsTheError) {
  std::filesystem::create_directories(folder_);
  const std::string full = (folder_ / "full").string();
  Ran ran;
  const double seconds = seconds_of([&] {
    ran = shell("mkfifo " + full + "; exec 3<>" + full + "; dd if=/dev/zero of=" + full +
                " bs=64K count=1 oflag=nonblock 2>/dev/null; timeout -s KILL 60 " HONE_MPIRUN
                " -np 1 " HONE_SESSION_PROBE " alone " + folder_.string() +
                " : -np 1 sh -c 'exec " HONE_SESSION_PROBE " alone " + folder_.string() + " 2>" + full + "'");
  });
  EXPECT_LT(seconds, 15.0);
  EXPECT_EQ(ran.code, 65) << ran.output;
  EXPECT_EQ(count(ran.output, "error: [rank 1 @ "), 1) << "rank 0 tells\n" << ran.output;
  for (const int rank : {0, 1}) EXPECT_THAT(record(rank)["reason"], HasSubstr("only here"));
  EXPECT_EQ(orphans(), 0);
}

TEST_F(Sessions, NameARankThatDied) {
  Ran ran;
  const double seconds = seconds_of([&] { ran = probe_on(3, "die"); });
  EXPECT_LT(seconds, 6.0);
  EXPECT_THAT(ran.code, AnyOf(kKilled, kStopped)) << ran.output;
  EXPECT_EQ(count(ran.output, "error: rank 1 @ "), 1) << ran.output;
  EXPECT_THAT(ran.output, AllOf(HasSubstr(" died: "), HasSubstr("in phase score"),
                                HasSubstr("after update 7")));
  for (const int rank : {0, 2}) {
    EXPECT_EQ(record(rank)["code"], 75);
    EXPECT_THAT(record(rank)["reason"], HasSubstr(" died: "));
    EXPECT_EQ(record(rank)["step"], 7);
  }
  EXPECT_TRUE(record(1).is_discarded());
  EXPECT_EQ(orphans(), 0);
}

TEST_F(Sessions, NameARankThatStandsStillWithinTenSeconds) {
  Ran ran;
  const double seconds = seconds_of([&] { ran = probe_on(2, "stand_still"); });
  EXPECT_LT(seconds, 15.0);
  EXPECT_EQ(ran.code, 75) << ran.output;
  EXPECT_EQ(count(ran.output, "error: rank 1 @ "), 1) << ran.output;
  EXPECT_THAT(ran.output, HasSubstr(" is lost: no heartbeat for 8 s"));
  EXPECT_EQ(record(0)["code"], 75);
  EXPECT_EQ(orphans(), 0);
}

TEST_F(Sessions, EndTheJobWhereARankIsWaitedForTooLong) {
  const Ran ran = probe_on(2, "dawdle", "auto 12");
  EXPECT_EQ(ran.code, 75) << ran.output;
  EXPECT_EQ(count(ran.output, "warning: rank 1 @ "), 1) << ran.output;
  EXPECT_EQ(count(ran.output, "error: rank 1 @ "), 1) << ran.output;
  EXPECT_THAT(ran.output,
              AllOf(HasSubstr("is waited for: it is in phase score"),
                    HasSubstr("barrier(), collective"), HasSubstr("the limit of 12 s")));
  for (const int rank : {0, 1}) EXPECT_EQ(record(rank)["code"], 75);
  EXPECT_EQ(orphans(), 0);
}

TEST_F(Sessions, EndTheJobWhereARankDoesNotComeToItsEnd) {
  const Ran ran = probe_on(3, "tarry", "auto 12");
  EXPECT_EQ(ran.code, 75) << ran.output;
  EXPECT_EQ(count(ran.output, "warning: rank 0 @ "), 1) << ran.output;
  EXPECT_EQ(count(ran.output, "error: rank 0 @ "), 1) << ran.output;
  EXPECT_THAT(ran.output, AllOf(HasSubstr("2 of 3 ranks wait at the end for "),
                                HasSubstr("the limit of 12 s")));
  for (const int rank : {0, 1, 2}) EXPECT_EQ(record(rank)["code"], 75);
  EXPECT_EQ(orphans(), 0);
}

TEST_F(Sessions, EndTheJobWhereARankNeverComesToMpi) {
  Ran ran;
  const double seconds = seconds_of([&] { ran = probe_on(3, "absent", "auto 1"); });
  EXPECT_LT(seconds, 30.0);
  EXPECT_EQ(ran.code, 69) << ran.output;
  EXPECT_EQ(count(ran.output, "error: "), 1) << ran.output;
  EXPECT_THAT(ran.output, HasSubstr("[rank 0] the ranks of this job have not met within 15 s"));
  for (const int rank : {0, 2}) EXPECT_EQ(record(rank)["code"], 69) << rank;
  EXPECT_EQ(orphans(), 0);
}

TEST_F(Sessions, LeaveWhereARankHangsInTheEndOfMpi) {
  Ran ran;
  const double seconds = seconds_of([&] { ran = probe_on(2, "freeze", "auto 1"); });
  EXPECT_LT(seconds, 30.0);
  EXPECT_THAT(ran.output, HasSubstr("warning: MPI or NCCL does not end"));
  EXPECT_EQ(ran.code, 1) << "mpirun's word for a rank that did not end MPI. " << ran.output;
  for (const int rank : {0, 1}) EXPECT_EQ(record(rank)["code"], 0);
  EXPECT_EQ(orphans(), 0);
}

TEST_F(Sessions, LeaveWhereARankHangsInTheEndOfAStartThatFailed) {
  Ran ran;
  const double seconds = seconds_of([&] { ran = probe_on(2, "freeze_unlaunched", "auto 1"); });
  EXPECT_LT(seconds, 30.0);
  EXPECT_THAT(ran.output, HasSubstr("MPI or NCCL does not end: a rank hangs in it. Before that: no "
                                    "rank can compute"));
  for (const int rank : {0, 1}) EXPECT_EQ(record(rank)["code"], 69);
  EXPECT_EQ(orphans(), 0);
}

TEST_F(Sessions, RecordAnEndBeforeTheirLogsInARunDirectoryOfTheirOwn) {
  EXPECT_EQ(probe_on(2, "alone_before_logs").code, 65);
  EXPECT_EQ(record(1)["code"], 65);
  EXPECT_EQ(record(0)["code"], 65);
}

TEST_F(Sessions, RemoveTheRecordsOfRanksThatAreNoMore) {
  probe_on(3, "stop");
  EXPECT_EQ(record(2)["code"], 75);
  EXPECT_EQ(probe_on(2, "finish").code, 0);
  EXPECT_EQ(record(1)["code"], 0);
  EXPECT_TRUE(record(2).is_discarded());
}

TEST_F(Sessions, TellAnOptionThatIsWrongOnAllRanksOnce) {
  const Ran ran = probe_on(2, "finish", "auto 12 bogus");
  EXPECT_EQ(ran.code, 64) << ran.output;
  EXPECT_EQ(count(ran.output, "error: "), 1) << ran.output;
}

TEST_F(Sessions, GoOnWhereTheWatchdogOnlyReportsOrIsOff) {
  const Ran reported = probe_on(2, "linger", "auto 12 report");
  EXPECT_EQ(reported.code, 0) << reported.output;
  EXPECT_THAT(reported.output, AllOf(HasSubstr("warning: rank 1 @ "),
                                     HasSubstr("longer than the limit of 12 s")));
  const Ran off = probe_on(2, "linger", "auto 12 off");
  EXPECT_EQ(off.code, 0) << off.output;
  EXPECT_THAT(off.output, Not(HasSubstr("rank 1 @ ")));
}

TEST_F(Sessions, NameRanksThatAreOutOfStep) {
  Ran ran;
  const double seconds = seconds_of([&] { ran = probe_on(2, "differ"); });
  EXPECT_LT(seconds, 6.0);
  EXPECT_EQ(ran.code, 70) << ran.output;
  EXPECT_THAT(ran.output, AllOf(HasSubstr("the ranks are out of step: "),
                                HasSubstr("broadcast(3 x int64, root 0)"), HasSubstr("barrier()")));
  EXPECT_EQ(orphans(), 0);
}

TEST_F(Sessions, LeaveNoRecordOfAnEarlierRun) {
  ASSERT_EQ(probe_on(2, "finish").code, 0);
  ASSERT_EQ(record(0)["code"], 0);
  EXPECT_THAT(probe_on(2, "die").code, AnyOf(kKilled, kStopped));
  EXPECT_TRUE(record(1).is_discarded());
}

TEST_F(Sessions, OfOneRankTellErrorsWithoutATag) {
  const Ran ran = probe_on(1, "memory");
  EXPECT_EQ(ran.code, 71);
  EXPECT_THAT(ran.output, HasSubstr("error: out of memory\n"));
}

TEST_F(Sessions, ShowWarningsOfRank0AndErrorsOfAll) {
  const Ran ran = probe_on(2, "warn");
  EXPECT_EQ(count(ran.output, "warning: odd"), 1) << ran.output;
  EXPECT_EQ(count(ran.output, "error: bad"), 2) << ran.output;
  EXPECT_EQ(count(ran.output, "[rank 1 @ "), 1) << ran.output;
}

TEST_F(Sessions, RefuseABackendThatIsNotThere) {
  for (const std::string backend : {"nccl", "loopback"}) {
    const Ran ran = probe_on(2, "finish", backend);
    EXPECT_EQ(ran.code, 69) << ran.output;
    EXPECT_EQ(count(ran.output, "error: ddp_backend=" + backend + " is for "), 1) << ran.output;
  }
  const Ran unknown = probe_on(1, "finish", "smoke");
  EXPECT_EQ(unknown.code, 64);
  EXPECT_THAT(unknown.output, HasSubstr("unknown backend \"smoke\""));
}

TEST_F(Sessions, NoticeSrunWithoutPmixBeforeMpiStarts) {
  const Ran ran = shell("SLURM_STEP_ID=0 SLURM_NTASKS=2 " HONE_SESSION_PROBE " finish");
  EXPECT_EQ(ran.code, 69);
  EXPECT_THAT(ran.output, HasSubstr("started by srun without PMIx"));
}

TEST_F(Sessions, WarnALoneProcessOfALargerJob) {
  const Ran ran = shell("SLURM_NTASKS=2 " HONE_SESSION_PROBE " finish");
  EXPECT_EQ(ran.code, 0);
  EXPECT_THAT(ran.output, HasSubstr("warning: 2 processes were asked for"));
}

}  // namespace
}  // namespace hone::launcher

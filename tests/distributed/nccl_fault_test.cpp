// NCCL that fails, hangs or lies, scripted at every operation: the communicator ends within its
// bounds and says what happened where.

#include <gmock/gmock.h>

#include <atomic>
#include <mutex>

#include "distributed/nccl_faults.hpp"
#include "hone/distributed/thread_world.hpp"

namespace hone::testing {

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CommunicatorContract);

namespace {

using distributed::NcclCommunicator;
using distributed::NcclTimes;
using distributed::ThreadWorld;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kRanks = 3;
const std::string kLate = "not done after 500 ms: a rank is gone, hangs, or called something else";

using Body = std::function<Ending(Communicator& host)>;

/// Runs `body` on every rank and says how each ended.
std::vector<Ending> endings(const std::string& script, const Body& body) {
  const FaultScript faults{script};
  std::vector<Ending> all(kRanks);
  ThreadWorld{kRanks}.run(
      [&](Communicator& host) { all[static_cast<std::size_t>(host.rank())] = body(host); });
  return all;
}

class FaultAtOperation : public ::testing::TestWithParam<int> {
 protected:
  std::vector<Ending> run(const std::string& fault) {
    return endings("r1:op" + std::to_string(GetParam()) + ":" + fault, end_of_sequence);
  }

  /// The others wait in vain in the same place.
  void expect_others_late(const std::vector<Ending>& all) {
    for (const int rank : {0, 2}) {
      const auto& ending = all[static_cast<std::size_t>(rank)];
      EXPECT_EQ(ending.message, "[rank " + std::to_string(rank) + " of 3] " +
                                    name_in_sequence(GetParam()) + kLate);
      EXPECT_EQ(ending.code, ExitCode::Stopped);
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Every, FaultAtOperation, ::testing::Range(1, 7));

TEST_P(FaultAtOperation, AFailingCallNamesTheFunctionAndNcclsText) {
  constexpr const char* kFunctions[] = {"ncclAllReduce", "ncclReduceScatter", "ncclAllGather",
                                        "ncclBroadcast", "ncclAllGather",     "ncclAllGather"};
  const auto all = run("err=2");
  EXPECT_EQ(all[1].message, "[rank 1 of 3] " + name_in_sequence(GetParam()) +
                                kFunctions[GetParam() - 1] +
                                ": unhandled system error (the fake's last words)");
  EXPECT_EQ(all[1].code, ExitCode::Stopped);
  expect_others_late(all);
}

TEST_P(FaultAtOperation, AnErrorThatComesLaterIsPolled) {
  const auto all = run("async=6");
  EXPECT_EQ(all[1].message,
            "[rank 1 of 3] " + name_in_sequence(GetParam()) +
                "NCCL: remote process exited or there was a network error (the fake's last words)");
  EXPECT_EQ(all[1].code, ExitCode::Stopped);
  expect_others_late(all);
}

TEST_P(FaultAtOperation, AHangEndsAtTheDeadline) {
  const auto all = run("hang");
  EXPECT_EQ(all[1].message, "[rank 1 of 3] " + name_in_sequence(GetParam()) + kLate);
  expect_others_late(all);
}

TEST_P(FaultAtOperation, AnErrorAfterItIsSeenByTheNextCallAtTheLatest) {
  const auto all = run("after=3");
  const std::string next =
      GetParam() < 5 ? name_in_sequence(GetParam() + 1) : "closing after collective 6 failed: ";
  EXPECT_THAT(all[1].message, AllOf(AnyOf(HasSubstr(name_in_sequence(GetParam())), HasSubstr(next)),
                                    HasSubstr("NCCL: internal error")));
  // The second of a group may be given up with the first.
  const std::string either = GetParam() == 5 ? name_in_sequence(6) : next;
  for (const int rank : {0, 2}) {
    EXPECT_THAT(all[static_cast<std::size_t>(rank)].message,
                AllOf(AnyOf(HasSubstr(next), HasSubstr(either)), HasSubstr(kLate)));
  }
}

TEST_P(FaultAtOperation, ASlowOneIsNoFault) {
  for (const auto& ending : run("slow=100ms")) EXPECT_EQ(ending.message, "");
}

TEST(NcclFaults, AWrongCallIsABugAndNotWorthARestart) {
  for (const std::string error : {"4", "5"}) {
    EXPECT_EQ(endings("r1:op2:err=" + error, end_of_sequence)[1].code, ExitCode::Internal);
  }
}

TEST(NcclFaults, AGroupThatCannotBeLaunchedFails) {
  const auto all = endings("r1:group:err=3", end_of_sequence);
  EXPECT_THAT(all[1].message,
              AllOf(HasSubstr(name_in_sequence(5)), HasSubstr("ncclGroupEnd: internal error")));
  EXPECT_THAT(all[0].message, AllOf(HasSubstr(name_in_sequence(5)), HasSubstr(kLate)));
}

TEST(NcclFaults, AnAbortThatHangsIsLeftBehind) {
  for (const auto& ending : endings("r1:op2:hang;abort:hang", end_of_sequence)) {
    EXPECT_THAT(ending.message,
                AllOf(HasSubstr(name_in_sequence(2)), HasSubstr(kLate),
                      HasSubstr("; ncclCommAbort hangs, too: given up after 500 ms")));
  }
}

TEST(NcclFaults, ASlowAbortIsWaitedFor) {
  for (const auto& ending : endings("r1:op2:hang;abort:slow=100ms", end_of_sequence)) {
    EXPECT_THAT(ending.message, AllOf(HasSubstr(kLate), Not(HasSubstr("ncclCommAbort"))));
  }
}

/// Ranks 0 and 2 call one thing, rank 1 another: all end at the deadline and name their own call.
void expect_mismatch(const std::function<void(Communicator&, void*)>& most,
                     const std::function<void(Communicator&, void*)>& odd,
                     const std::string& most_name, const std::string& odd_name) {
  const auto all = endings("", [&](Communicator& host) {
    return ending_of(host, [&](Communicator& comm) {
      std::vector<double> memory(64);
      comm.all_reduce(memory.data(), 8, DType::Int64, ReduceOp::Sum);
      (comm.rank() == 1 ? odd : most)(comm, memory.data());
    });
  });
  for (int rank = 0; rank < kRanks; ++rank) {
    EXPECT_THAT(all[static_cast<std::size_t>(rank)].message,
                AllOf(HasSubstr("collective 2, " + (rank == 1 ? odd_name : most_name) + ", failed"),
                      HasSubstr(kLate)));
  }
}

TEST(NcclFaults, RanksThatCallDifferentThingsEndAtTheDeadline) {
  const auto sum = [](Communicator& comm, void* data) {
    comm.all_reduce(data, 4, DType::Float32, ReduceOp::Sum);
  };
  const std::string sum_name = "all_reduce(sum, 4 x float32)";
  expect_mismatch(
      sum,
      [](Communicator& comm, void* data) {
        comm.all_reduce(data, 3, DType::Float32, ReduceOp::Sum);
      },
      sum_name, "all_reduce(sum, 3 x float32)");
  expect_mismatch(
      sum,
      [](Communicator& comm, void* data) { comm.all_reduce(data, 4, DType::Int64, ReduceOp::Sum); },
      sum_name, "all_reduce(sum, 4 x int64)");
  expect_mismatch(
      sum,
      [](Communicator& comm, void* data) {
        comm.all_reduce(data, 4, DType::Float32, ReduceOp::Max);
      },
      sum_name, "all_reduce(max, 4 x float32)");
  expect_mismatch(
      sum, [](Communicator& comm, void* data) { comm.all_gather(data, 4, DType::Float32); },
      sum_name, "all_gather(4 x float32 a rank)");
  expect_mismatch(
      [](Communicator& comm, void* data) { comm.broadcast(data, 4, DType::Float32, 0); },
      [](Communicator& comm, void* data) { comm.broadcast(data, 4, DType::Float32, 1); },
      "broadcast(4 x float32, root 0)", "broadcast(4 x float32, root 1)");
}

/// What the constructor throws, on every rank.
std::vector<Ending> init_endings(const std::string& script) {
  return endings(script, [](Communicator& host) -> Ending {
    const auto start = std::chrono::steady_clock::now();
    FakeDevice device;
    try {
      const NcclCommunicator comm{fake_nccl(), device, host, kShortTimes};
    } catch (const LaunchError& error) {
      EXPECT_LT(std::chrono::steady_clock::now() - start, kBound);
      return {error.what(), error.exit_code()};
    }
    return {};
  });
}

void expect_all(const std::vector<Ending>& all, const std::string& message) {
  for (const auto& ending : all) {
    EXPECT_THAT(ending.message, HasSubstr(message));
    EXPECT_EQ(ending.code, ExitCode::Environment);
  }
}

TEST(NcclInit, NoIdIsAnErrorOnEveryRank) {
  expect_all(init_endings("id:err=2"), "ncclGetUniqueId: unhandled system error");
}

TEST(NcclInit, OneRanksErrorIsEverybodysAndComesFirst) {
  expect_all(init_endings("r1:init:err=1"),
             "NCCL cannot be initialised: rank 1: ncclCommInitRankConfig: unhandled cuda error; "
             "rank 0, 2: " + kLate);
  expect_all(init_endings("r2:init:async=2"),
             "rank 2: NCCL: unhandled system error (the fake's last words); rank 0, 1: " + kLate);
}

TEST(NcclInit, OneThatNeverEndsEndsAtTheDeadline) {
  expect_all(init_endings("init:hang"), "rank 0, 1, 2: " + kLate);
  expect_all(init_endings("init:hang;abort:hang"), "rank 0, 1, 2: " + kLate);
}

TEST(NcclClose, ItsErrorsAndHangsAreNamed) {
  const auto failed = endings("r1:finalize:err=3", end_of_sequence);
  EXPECT_THAT(failed[1].message, HasSubstr("[rank 1 of 3] closing after collective 6 failed: "
                                           "ncclCommFinalize: internal error"));
  for (const auto& ending : endings("r1:finalize:hang", end_of_sequence)) {
    EXPECT_THAT(ending.message, AllOf(HasSubstr("closing after collective 6 failed"),
                                      HasSubstr(kLate)));
  }
}

TEST(NcclFaults, CorruptedResultsAreFoundByComparing) {
  // NCCL has no checksums: what it delivers wrong is found by the replica check, which compares.
  std::vector<bool> same(kRanks);
  const auto all = endings("r2:op1:corrupt", [&](Communicator& host) {
    return ending_of(host, [&](NcclCommunicator& comm) {
      std::vector<float> values(1000, 1.0F);
      comm.all_reduce(values.data(), 1000, DType::Float32, ReduceOp::Sum);
      const auto everybodys = comm.all_gather_bytes(std::as_bytes(std::span{values}));
      for (int rank = 0; rank < kRanks; ++rank) {
        const auto index = static_cast<std::size_t>(rank);
        if (comm.rank() == 0) same[index] = everybodys[index] == everybodys[0];
      }
      comm.close();
    });
  });
  for (const auto& ending : all) EXPECT_EQ(ending.message, "");
  EXPECT_EQ(same, (std::vector<bool>{true, true, false}));
}

TEST(NcclFaults, AFailingHostIsFatalToo) {
  const auto run = [] {
    ThreadWorld{2}.run([](Communicator& host) {
      FakeDevice device;
      NcclCommunicator comm{fake_nccl(), device, host, kShortTimes};
      if (host.rank() == 1) throw InputError{"line 5 is cut off"};
      const auto [message, code] = error_of([&] { comm.barrier(); });
      EXPECT_THAT(message, AllOf(HasSubstr("[rank 0 of 2] collective 1, barrier(), failed: "),
                                 HasSubstr("line 5 is cut off")));
      EXPECT_EQ(code, ExitCode::InvalidData);
      float value = 0;
      EXPECT_THROW(comm.all_reduce(&value, 1, DType::Float32, ReduceOp::Sum), CommunicatorError);
    });
  };
  EXPECT_THROW(run(), InputError);
}

/// A device that breaks while it communicates.
class BrokenDevice final : public FakeDevice {
 public:
  bool communication_is_done() override {
    throw CommunicatorError{"CUDA: the GPU fell off the bus"};
  }
};

TEST(NcclFaults, ABrokenDeviceIsNamedWithTheCollective) {
  ThreadWorld{1}.run([](Communicator& host) {
    BrokenDevice device;
    NcclCommunicator comm{fake_nccl(), device, host, kShortTimes};
    float value = 0;
    const auto [message, code] =
        error_of([&] { comm.all_reduce(&value, 1, DType::Float32, ReduceOp::Sum); });
    EXPECT_EQ(message, "[rank 0 of 1] collective 1, all_reduce(sum, 1 x float32), failed: "
                       "CUDA: the GPU fell off the bus");
    EXPECT_EQ(code, ExitCode::Internal);
    EXPECT_THROW(comm.wait(), CommunicatorError);
  });
}

}  // namespace
}  // namespace hone::testing

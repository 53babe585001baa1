#include "hone/distributed/thread_world.hpp"

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "distributed/communicator_contract.hpp"
#include "fakes/late_communicator.hpp"

namespace hone::testing {
namespace {

using distributed::ThreadWorld;
using ::testing::TestParamInfo;
using ::testing::Values;

World thread_world(int num_ranks) {
  return {"threads", num_ranks,
          [num_ranks](const auto& body) { ThreadWorld{num_ranks}.run(body); }};
}

INSTANTIATE_TEST_SUITE_P(Threads, CommunicatorContract,
                         Values(thread_world(1), thread_world(2), thread_world(3),
                                thread_world(4)),
                         [](const TestParamInfo<World>& info) {
                           return std::to_string(info.param.num_ranks) + "Ranks";
                         });

/// What Communicator itself makes of the operations that an implementation need not have.
World default_world(int num_ranks) {
  return {"late", num_ranks, [num_ranks](const auto& body) {
            ThreadWorld{num_ranks}.run([&](Communicator& inner) {
              LateCommunicator comm{inner};
              body(comm);
            });
          }};
}

INSTANTIATE_TEST_SUITE_P(Defaults, CommunicatorContract, Values(default_world(3)),
                         [](const auto&) { return "3Ranks"; });

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(ThreadWorld, NeedsARank) { EXPECT_THROW(ThreadWorld{0}, ConfigError); }

TEST(ThreadWorld, EveryRankHasAThreadOfItsOwn) {
  std::mutex mutex;
  std::set<std::thread::id> threads;
  ThreadWorld{4}.run([&](Communicator&) {
    const std::lock_guard lock{mutex};
    threads.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(threads.size(), 4U);
  EXPECT_FALSE(threads.contains(std::this_thread::get_id()));
}

TEST(ThreadWorld, NobodyPassesABarrierBeforeAllAreThere) {
  std::atomic<int> arrived{0};
  ThreadWorld{4}.run([&](Communicator& comm) {
    for (int round = 1; round <= 200; ++round) {
      ++arrived;
      comm.barrier();
      EXPECT_GE(arrived.load(), 4 * round);
      comm.barrier();
    }
  });
}

TEST(ThreadWorld, SumsInRankOrder) {
  // Terms of very different sizes: every other order rounds some of the sums differently.
  constexpr int kCount = 1000;
  std::vector<std::vector<float>> terms(4, std::vector<float>(kCount));
  std::mt19937 random(20);
  std::normal_distribution<float> normal{0.0F, 1.0F};
  for (auto& of_rank : terms) {
    for (auto& term : of_rank) term = normal(random) * std::exp2(normal(random) * 4.0F);
  }
  std::vector<float> expected(kCount, 0.0F);
  for (const auto& of_rank : terms) {
    for (int i = 0; i < kCount; ++i) expected[i] += of_rank[i];
  }
  ThreadWorld{4}.run([&](Communicator& comm) {
    std::vector<float> values = terms[static_cast<std::size_t>(comm.rank())];
    comm.all_reduce(values.data(), kCount, DType::Float32, ReduceOp::Sum);
    EXPECT_EQ(values, expected);
  });
}

TEST(ThreadWorld, DifferentOperationsThrowOnEveryRankAndNameBoth) {
  std::atomic<int> num_thrown{0};
  ThreadWorld{3}.run([&](Communicator& comm) {
    comm.barrier();
    std::vector<float> values(4);
    const auto [message, code] = error_of([&] {
      if (comm.rank() == 1) comm.broadcast(values.data(), 3, DType::Float32, 2);
      else comm.all_reduce(values.data(), 4, DType::Float32, ReduceOp::Max);
    });
    ++num_thrown;
    EXPECT_EQ(code, ExitCode::Internal);
    EXPECT_TRUE(contains(message, "collective 2")) << message;
    EXPECT_TRUE(contains(message, "ranks 0, 2 called all_reduce(max, 4 x float32)")) << message;
    EXPECT_TRUE(contains(message, "rank 1 called broadcast(3 x float32, root 2)")) << message;
    EXPECT_THROW(comm.barrier(), CommunicatorError);  // unusable from now on
  });
  EXPECT_EQ(num_thrown, 3);
}

/// Runs two calls on two ranks against each other and expects that both throw.
void expect_mismatch(const std::function<void(Communicator&, float*)>& call0,
                     const std::function<void(Communicator&, float*)>& call1) {
  std::atomic<int> num_thrown{0};
  ThreadWorld{2}.run([&](Communicator& comm) {
    float values[4] = {};
    try {
      (comm.rank() == 0 ? call0 : call1)(comm, values);
    } catch (const CommunicatorError&) {
      ++num_thrown;
    }
  });
  EXPECT_EQ(num_thrown, 2);
}

TEST(ThreadWorld, AnyDifferenceBetweenCallsIsAMismatch) {
  const auto sum = [](Communicator& comm, float* data) {
    comm.all_reduce(data, 2, DType::Float32, ReduceOp::Sum);
  };
  expect_mismatch(sum, [](Communicator& comm, float* data) {
    comm.all_reduce(data, 1, DType::Float32, ReduceOp::Sum);
  });
  expect_mismatch(sum, [](Communicator& comm, float* data) {
    comm.all_reduce(data, 2, DType::BFloat16, ReduceOp::Sum);
  });
  expect_mismatch(sum, [](Communicator& comm, float* data) {
    comm.all_reduce(data, 2, DType::Float32, ReduceOp::Min);
  });
  expect_mismatch(sum, [](Communicator& comm, float*) { comm.barrier(); });
  expect_mismatch(sum, [](Communicator& comm, float*) { comm.all_gather_bytes({}); });
  const auto exchange = [](Communicator& comm, float*) {
    comm.all_to_all_bytes(std::vector<std::vector<std::byte>>(2));
  };
  expect_mismatch(sum, exchange);
  expect_mismatch([](Communicator& comm, float*) { comm.all_gather_bytes({}); }, exchange);
  expect_mismatch(
      [](Communicator& comm, float* data) { comm.broadcast(data, 2, DType::Float32, 0); },
      [](Communicator& comm, float* data) { comm.broadcast(data, 2, DType::Float32, 1); });
}

TEST(ThreadWorld, AMismatchThatNobodyHandlesEndsTheRun) {
  const auto [message, code] = error_of([] {
    ThreadWorld{2}.run([](Communicator& comm) {
      if (comm.rank() == 0) comm.barrier();
      else comm.all_gather_bytes({});
    });
  });
  EXPECT_TRUE(contains(message, "rank 0 called barrier()")) << message;
  EXPECT_TRUE(contains(message, "rank 1 called all_gather_bytes()")) << message;
}

TEST(ThreadWorld, AMismatchNamesAnExchangeAmongAll) {
  const auto [message, code] = error_of([] {
    ThreadWorld{2}.run([](Communicator& comm) {
      if (comm.rank() == 0) comm.barrier();
      else comm.all_to_all_bytes(std::vector<std::vector<std::byte>>(2));
    });
  });
  EXPECT_TRUE(contains(message, "rank 1 called all_to_all_bytes()")) << message;
}

TEST(ThreadWorld, AThrowingRankFreesThoseThatWait) {
  std::atomic<int> num_freed{0};
  const auto run = [&] {
    ThreadWorld{3}.run([&](Communicator& comm) {
      comm.barrier();
      if (comm.rank() == 2) throw InputError{"line 5 is cut off"};
      try {
        comm.barrier();
      } catch (const CommunicatorError& error) {
        ++num_freed;
        EXPECT_TRUE(contains(error.what(), "rank 2 failed")) << error.what();
        EXPECT_TRUE(contains(error.what(), "line 5 is cut off")) << error.what();
        EXPECT_EQ(error.exit_code(), ExitCode::InvalidData);
        throw;
      }
    });
  };
  EXPECT_THROW(run(), InputError);  // the first one, not its consequences
  EXPECT_EQ(num_freed, 2);
}

TEST(ThreadWorld, ExceptionsOfAnyTypeComeBack) {
  EXPECT_THROW(ThreadWorld{2}.run([](Communicator& comm) {
    if (comm.rank() == 1) throw 42;
    comm.barrier();
  }),
               int);
}

TEST(ThreadWorld, ARankThatReturnsEarlyIsAnErrorForThoseThatWait) {
  const auto [message, code] = error_of([] {
    ThreadWorld{3}.run([](Communicator& comm) {
      comm.barrier();
      if (comm.rank() == 1) return;
      all_true(comm, true);
    });
  });
  EXPECT_EQ(code, ExitCode::Internal);
  EXPECT_TRUE(contains(message, "collective 2")) << message;
  EXPECT_TRUE(contains(message, "rank 1 returned after 1 collectives")) << message;
  EXPECT_TRUE(contains(message, "called all_reduce(min, 1 x int64)")) << message;
}

TEST(ThreadWorld, ARankThatLeftLongAgoIsFoundBySomebodyWhoComesLate) {
  // The later the round, the likelier has rank 1 left before rank 0 calls anything.
  for (int round = 0; round < 200; ++round) {
    EXPECT_THROW(ThreadWorld{2}.run([&](Communicator& comm) {
      if (comm.rank() == 1) return;
      for (int i = 0; i < round; ++i) std::this_thread::yield();
      comm.barrier();
    }),
                 CommunicatorError);
  }
}

TEST(ThreadWorld, AbortFreesThoseThatWaitWithItsExitCode) {
  const auto [message, code] = error_of([] {
    ThreadWorld{3}.run([](Communicator& comm) {
      if (comm.rank() == 1) return comm.abort(75);
      comm.barrier();
    });
  });
  EXPECT_EQ(code, ExitCode::Stopped);
  EXPECT_TRUE(contains(message, "rank 1 aborted the job with exit code 75")) << message;
}

TEST(ThreadWorld, AnAbortedRunNeverEndsWell) {
  const auto [message, code] =
      error_of([] { ThreadWorld{2}.run([](Communicator& comm) { comm.abort(74); }); });
  EXPECT_EQ(code, ExitCode::Io);
}

TEST(ThreadWorld, EveryRunIsANewWorld) {
  ThreadWorld world{2};
  EXPECT_THROW(world.run([](Communicator&) { throw ConfigError{"once"}; }), ConfigError);
  world.run([](Communicator& comm) { EXPECT_TRUE(all_true(comm, true)); });
}

TEST(ThreadWorld, RacesBetweenFailureAndMeetingNeverHang) {
  for (int round = 0; round < 300; ++round) {
    const int bad = round % 3;
    EXPECT_THROW(ThreadWorld{3}.run([&](Communicator& comm) {
      std::int64_t value = comm.rank();
      for (int i = 0; i < round % 7; ++i) comm.all_reduce(&value, 1, DType::Int64, ReduceOp::Max);
      if (comm.rank() == bad) throw InputError{"bad"};
      comm.all_reduce(&value, 1, DType::Int64, ReduceOp::Max);
    }),
                 InputError);
  }
}

}  // namespace
}  // namespace hone::testing

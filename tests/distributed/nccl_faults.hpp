#pragma once

#include <gmock/gmock.h>

#include <chrono>
#include <string>
#include <vector>

#include "distributed/nccl_world.hpp"
#include "hone/distributed/collective_call.hpp"

namespace hone::testing {

/// Long enough for a healthy operation on a busy machine, short enough to wait for.
inline constexpr distributed::NcclTimes kShortTimes{
    .init = std::chrono::milliseconds{500},
    .collective = std::chrono::milliseconds{500},
    .close = std::chrono::milliseconds{500},
    .abort = std::chrono::milliseconds{500},
};
/// No rank may take longer, whatever goes wrong: one deadline, one abort, and time for a busy
/// machine.
inline constexpr std::chrono::seconds kBound{5};

/// A sequence that has every operation; the last two are one group. Position i is collective i + 1.
inline std::vector<distributed::CollectiveCall> sequence_calls() {
  using namespace distributed;
  return {all_reduce_call(1000, DType::Float32, ReduceOp::Sum),
          reduce_scatter_call(300, DType::Float32, ReduceOp::Max),
          all_gather_call(300, DType::Float32),
          broadcast_call(77, DType::Int64, 0),
          all_gather_call(500, DType::BFloat16),
          all_gather_call(12, DType::Float64)};
}

inline void run_sequence(distributed::NcclCommunicator& comm) {
  std::vector<double> memory(4096);
  void* data = memory.data();
  comm.all_reduce(data, 1000, DType::Float32, ReduceOp::Sum);
  comm.reduce_scatter(data, 300, DType::Float32, ReduceOp::Max);
  comm.all_gather(data, 300, DType::Float32);
  comm.broadcast(data, 77, DType::Int64, 0);
  const std::vector<RankBlocks> group{{data, 500, DType::BFloat16},
                                      {memory.data() + 2048, 12, DType::Float64}};
  comm.all_gathers(group);
}

/// How messages name collective `number` of the sequence.
inline std::string name_in_sequence(int number) {
  const auto calls = sequence_calls();
  const auto text = [&](int which) {
    return std::to_string(which) + ", " + describe(calls[static_cast<std::size_t>(which) - 1]);
  };
  if (number < 5) return "collective " + text(number) + ", failed: ";
  return "one of the collectives from " + text(5) + ", to " + text(6) + ", failed: ";
}

/// How a body ended on one rank.
struct Ending {
  std::string message;  ///< empty: it returned
  ExitCode code = ExitCode::Success;
};

/// Runs `body` with an NCCL communicator over `host` and says how it ended. Expects that it ended
/// within the bound, and that after an error every collective is refused. The fake sees to it that
/// no call of NCCL follows its abort.
inline Ending ending_of(Communicator& host,
                        const std::function<void(distributed::NcclCommunicator&)>& body,
                        const distributed::NcclTimes& times = kShortTimes) {
  const auto start = std::chrono::steady_clock::now();
  Ending ending;
  {
    FakeDevice device;
    distributed::NcclCommunicator comm{fake_nccl(), device, host, times};
    try {
      body(comm);
    } catch (const CommunicatorError& error) {
      ending = {error.what(), error.exit_code()};
      float value = 0;
      try {
        comm.all_reduce(&value, 1, DType::Float32, ReduceOp::Sum);
        ADD_FAILURE() << "it was taken after " << ending.message;
      } catch (const CommunicatorError& refused) {
        EXPECT_EQ(refused.exit_code(), ending.code) << refused.what();  // the first cause's
      }
      EXPECT_THROW(comm.all_gathers({}), CommunicatorError);
      EXPECT_THROW(comm.wait(), CommunicatorError);
      EXPECT_THROW(comm.barrier(), CommunicatorError);
      comm.close();  // without effect
    }
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, kBound);
  return ending;
}

inline Ending end_of_sequence(Communicator& host) {
  return ending_of(host, [](distributed::NcclCommunicator& comm) {
    run_sequence(comm);
    comm.close();
  });
}

}  // namespace hone::testing

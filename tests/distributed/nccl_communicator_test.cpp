#include "hone/distributed/nccl_communicator.hpp"

#include <gmock/gmock.h>

#include <atomic>
#include <limits>
#include <vector>

#include "distributed/nccl_world.hpp"
#include "hone/distributed/all_reduce_gradient_reducer.hpp"

namespace hone::testing {
namespace {

using distributed::NcclApi;
using distributed::NcclComm;
using distributed::NcclCommunicator;
using distributed::ThreadWorld;
using ::testing::TestParamInfo;
using ::testing::Values;

World threads(int num_ranks) {
  return nccl_world(num_ranks, [num_ranks](const auto& body) { ThreadWorld{num_ranks}.run(body); });
}

INSTANTIATE_TEST_SUITE_P(NcclOnThreads, CommunicatorContract,
                         Values(threads(1), threads(2), threads(3), threads(4)),
                         [](const TestParamInfo<World>& info) {
                           return std::to_string(info.param.num_ranks) + "Ranks";
                         });

/// How often NCCL's functions that end a communicator were called.
struct EndCalls {
  inline static std::atomic<int> finalized{0};
  inline static std::atomic<int> destroyed{0};
  inline static std::atomic<int> aborted{0};
};

NcclApi counting_nccl() {
  EndCalls::finalized = EndCalls::destroyed = EndCalls::aborted = 0;
  NcclApi api = fake_nccl();
  api.comm_finalize = [](NcclComm comm) {
    ++EndCalls::finalized;
    return fake_nccl().comm_finalize(comm);
  };
  api.comm_destroy = [](NcclComm comm) {
    ++EndCalls::destroyed;
    return fake_nccl().comm_destroy(comm);
  };
  api.comm_abort = [](NcclComm comm) {
    ++EndCalls::aborted;
    return fake_nccl().comm_abort(comm);
  };
  return api;
}

TEST(NcclCommunicator, CloseFinalizesAndDestroysOnce) {
  const auto api = counting_nccl();
  ThreadWorld{2}.run([&](Communicator& host) {
    FakeDevice device;
    NcclCommunicator comm{api, device, host};
    std::vector<float> values(10, 1.0F);
    comm.start_all_reduce(values.data(), 10, DType::Float32, ReduceOp::Sum);
    comm.close();  // waits for what was started
    EXPECT_EQ(values, std::vector<float>(10, 2.0F));
    comm.close();
    const auto [message, code] =
        error_of([&] { comm.all_reduce(values.data(), 1, DType::Float32, ReduceOp::Sum); });
    EXPECT_EQ(message, "all_reduce(sum, 1 x float32) refused: the communicator was closed");
  });
  EXPECT_EQ(EndCalls::finalized, 2);
  EXPECT_EQ(EndCalls::destroyed, 2);
  EXPECT_EQ(EndCalls::aborted, 0);
}

TEST(NcclCommunicator, DestructionWithoutCloseAbortsWithoutWaitingForPeers) {
  const auto api = counting_nccl();
  ThreadWorld{2}.run([&](Communicator& host) {
    FakeDevice device;
    NcclCommunicator comm{api, device, host};
    std::vector<float> values(10, 1.0F);
    if (host.rank() == 0) {  // rank 1 never does
      comm.start_all_reduce(values.data(), 10, DType::Float32, ReduceOp::Sum);
    }
  });
  EXPECT_EQ(EndCalls::finalized, 0);
  EXPECT_EQ(EndCalls::destroyed, 0);
  EXPECT_EQ(EndCalls::aborted, 2);
}

TEST(NcclCommunicator, AFailureAbortsOnce) {
  const auto api = counting_nccl();
  const FaultScript faults{"op1:err=2"};
  ThreadWorld{1}.run([&](Communicator& host) {
    FakeDevice device;
    NcclCommunicator comm{api, device, host};
    float value = 0;
    EXPECT_THROW(comm.all_reduce(&value, 1, DType::Float32, ReduceOp::Sum), CommunicatorError);
    EXPECT_EQ(EndCalls::aborted, 1);  // at once, not when the communicator goes
    comm.close();
  });
  EXPECT_EQ(EndCalls::finalized, 0);
  EXPECT_EQ(EndCalls::aborted, 1);
}

TEST(NcclCommunicator, AbortEndsTheJobThroughTheHost) {
  const auto [message, code] = error_of([] {
    ThreadWorld{2}.run([](Communicator& host) {
      FakeDevice device;
      NcclCommunicator comm{fake_nccl(), device, host};
      if (comm.rank() == 1) {
        comm.abort(75);
        EXPECT_THROW(comm.barrier(), CommunicatorError);
        return;
      }
      comm.barrier();
    });
  });
  EXPECT_EQ(code, ExitCode::Stopped);
  EXPECT_NE(message.find("rank 1 aborted the job with exit code 75"), std::string::npos) << message;
}

TEST(NcclCommunicator, StartedReductionsOverlapWithOtherWork) {
  ThreadWorld{2}.run([](Communicator& host) {
    FakeDevice device;
    NcclCommunicator comm{fake_nccl(), device, host};
    std::vector<float> first(1000, 1.0F + static_cast<float>(comm.rank()));
    std::vector<std::int64_t> second(7, 10 + comm.rank());
    std::vector<float> third(3, 5.0F);
    if (comm.rank() == 1) host.barrier();
    // On rank 0 these return though rank 1 has not called them.
    comm.start_all_reduce(first.data(), 1000, DType::Float32, ReduceOp::Sum);
    comm.start_all_reduce(nullptr, 0, DType::Float32, ReduceOp::Sum);
    comm.start_all_reduce(second.data(), 7, DType::Int64, ReduceOp::Sum);
    if (comm.rank() == 0) host.barrier();
    comm.start_all_reduce(third.data(), 3, DType::Float32, ReduceOp::Max);
    comm.wait();
    EXPECT_EQ(first, std::vector<float>(1000, 3.0F));
    EXPECT_EQ(second, std::vector<std::int64_t>(7, 21));
    EXPECT_EQ(third, std::vector<float>(3, 5.0F));
    EXPECT_EQ(device.num_joins(), 1);
    comm.wait();  // nothing to wait for
    EXPECT_EQ(device.num_joins(), 1);
    comm.close();
  });
}

TEST(NcclCommunicator, EveryOtherCollectiveWaitsForWhatWasStarted) {
  ThreadWorld{2}.run([](Communicator& host) {
    FakeDevice device;
    NcclCommunicator comm{fake_nccl(), device, host};
    std::vector<std::int64_t> values(5, 1);
    const auto start = [&] {
      comm.start_all_reduce(values.data(), 5, DType::Int64, ReduceOp::Sum);
    };
    start();
    comm.barrier();
    EXPECT_EQ(values, std::vector<std::int64_t>(5, 2));
    start();
    comm.broadcast(values.data(), 5, DType::Int64, 1);  // of the sum, not of what was there before
    EXPECT_EQ(values, std::vector<std::int64_t>(5, 4));
    start();
    std::int64_t one = 1;
    comm.all_reduce(&one, 1, DType::Int64, ReduceOp::Sum);
    EXPECT_EQ(values, std::vector<std::int64_t>(5, 8));
    comm.close();
  });
}

TEST(NcclCommunicator, AGroupWithAWrongBufferStartsNothing) {
  ThreadWorld{2}.run([](Communicator& host) {
    FakeDevice device;
    NcclCommunicator comm{fake_nccl(), device, host};
    std::vector<float> values{1.0F, 2.0F};
    const std::vector<RankBlocks> wrong{{values.data(), 1, DType::Float32},
                                        {nullptr, 1, DType::Float32}};
    EXPECT_THROW(comm.all_gathers(wrong), CommunicatorError);
    EXPECT_EQ(values, (std::vector<float>{1.0F, 2.0F}));
    comm.all_reduce(values.data(), 2, DType::Float32, ReduceOp::Sum);
    EXPECT_EQ(values, (std::vector<float>{2.0F, 4.0F}));
    comm.close();
  });
}

TEST(NcclCommunicator, MoreCallsThanAGroupTakesAreSeveralGroups) {
  ThreadWorld{2}.run([](Communicator& host) {
    FakeDevice device;
    NcclCommunicator comm{fake_nccl(), device, host};
    std::vector<std::int64_t> values(2 * 2500, -1);
    std::vector<RankBlocks> all;
    for (std::size_t i = 0; i < values.size(); i += 2) {
      values[i + static_cast<std::size_t>(comm.rank())] = static_cast<std::int64_t>(i);
      all.push_back({&values[i], 1, DType::Int64});
    }
    comm.all_gathers(all);
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(values[i], static_cast<std::int64_t>(i / 2 * 2));
    }
    EXPECT_EQ(device.num_joins(), 1);
    comm.close();
  });
}

TEST(NcclCommunicator, WhatOwnersShareIsOneGroup) {
  static std::atomic<int> num_groups;
  num_groups = 0;
  num_groups = 0;
  NcclApi api = fake_nccl();
  api.group_end = [] {
    ++num_groups;
    return fake_nccl().group_end();
  };
  ThreadWorld{2}.run([&](Communicator& host) {
    FakeDevice device;
    NcclCommunicator comm{api, device, host};
    distributed::AllReduceGradientReducer reducer{comm, {.bucket_bytes = 400}};
    std::vector<float> first(1024), second(512);  // of whole blocks: nothing is left to broadcast
    const std::vector<FlatBuffer> buffers{{first.data(), 1024, DType::Float32},
                                          {second.data(), 512, DType::Float32}};
    EXPECT_GT(reducer.partition(1024).num_buckets(), 1);
    reducer.share(buffers);
    EXPECT_EQ(device.num_joins(), 1);  // waited for once
    comm.close();
  });
  EXPECT_EQ(num_groups, 2);  // one a rank
}

TEST(NcclCommunicator, SumsKeepANanAndMinimaDropIt) {
  // As NCCL's kernels do (fminf): why the contract suite does not ask NCCL for more.
  ThreadWorld{2}.run([](Communicator& host) {
    FakeDevice device;
    NcclCommunicator comm{fake_nccl(), device, host};
    for (const DType dtype : {DType::Float32, DType::Float64, DType::BFloat16, DType::Float16}) {
      const auto mine = [&](auto) {
        return comm.rank() == 0 ? std::numeric_limits<double>::quiet_NaN() : 3.0;
      };
      TypedBuffer sum{dtype, 3};
      sum.fill(mine);
      comm.all_reduce(sum.data(), 3, dtype, ReduceOp::Sum);
      EXPECT_TRUE(std::isnan(sum.value(2)));
      TypedBuffer low{dtype, 3};
      low.fill(mine);
      comm.all_reduce(low.data(), 3, dtype, ReduceOp::Min);
      EXPECT_EQ(low.value(2), 3.0);
    }
    comm.close();
  });
}

}  // namespace
}  // namespace hone::testing

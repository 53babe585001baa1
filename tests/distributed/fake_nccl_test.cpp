// The fake NCCL is worth something only if it is strict: each wrong use that the real one answers
// with a hang or damaged memory ends the process.

#include <gmock/gmock.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "distributed/nccl_world.hpp"

namespace hone::testing {

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CommunicatorContract);

namespace {

using distributed::NcclComm;
using distributed::NcclConfig;
using distributed::NcclDataType;
using distributed::NcclReduceOp;
using distributed::NcclResult;
using distributed::NcclUniqueId;

NcclUniqueId new_id() {
  NcclUniqueId id{};
  EXPECT_EQ(fake_nccl().get_unique_id(&id), NcclResult::Success);
  return id;
}

NcclResult init(NcclComm& comm, const NcclUniqueId& id, NcclConfig config = {}) {
  return fake_nccl().comm_init_rank_config(&comm, 1, id, 0, &config);
}

NcclResult poll(NcclComm comm) {
  auto state = NcclResult::InProgress;
  while (state == NcclResult::InProgress) fake_nccl().comm_get_async_error(comm, &state);
  return state;
}

/// A communicator of one rank, ready, with a device that waits for its computing.
struct World1 {
  World1() {
    EXPECT_EQ(init(comm, new_id()), NcclResult::InProgress);
    EXPECT_EQ(poll(comm), NcclResult::Success);
    device.communication_after_computing();
  }

  NcclResult sum(std::size_t count = 4) {
    return fake_nccl().all_reduce(values, values, count, NcclDataType::Float32, NcclReduceOp::Sum,
                                  comm, device.communication_stream());
  }

  FakeDevice device;
  NcclComm comm = nullptr;
  float values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
};

class FakeNcclDeathTest : public ::testing::Test {
 protected:
  // A new process each: there are threads.
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

#define EXPECT_VIOLATION(statement, text) \
  EXPECT_EXIT(statement, ::testing::ExitedWithCode(99), "FAKE NCCL: .*" text)

TEST(FakeNccl, PoisonsTheBufferUntilTheWorkIsDone) {
  const FaultScript slow{"op1:slow=50ms"};
  World1 world;
  EXPECT_EQ(world.sum(), NcclResult::InProgress);
  EXPECT_TRUE(std::isnan(world.values[0]));
  EXPECT_EQ(world.values[4], 5.0F);
  EXPECT_TRUE(world.device.communication_is_done());  // it looks idle before the launch
  EXPECT_EQ(poll(world.comm), NcclResult::Success);
  EXPECT_FALSE(world.device.communication_is_done());
  while (!world.device.communication_is_done()) std::this_thread::yield();
  EXPECT_EQ(world.values[0], 1.0F);
  fake_nccl().comm_abort(world.comm);
}

TEST_F(FakeNcclDeathTest, CallsAfterTheEnd) {
  EXPECT_VIOLATION(
      {
        World1 world;
        fake_nccl().comm_abort(world.comm);
        poll(world.comm);
      },
      "ncclCommGetAsyncError after ncclCommAbort or ncclCommDestroy");
  EXPECT_VIOLATION(
      {
        World1 world;
        fake_nccl().comm_finalize(world.comm);
        poll(world.comm);
        fake_nccl().comm_destroy(world.comm);
        fake_nccl().comm_abort(world.comm);
      },
      "ncclCommAbort after ncclCommAbort or ncclCommDestroy");
  EXPECT_VIOLATION(
      {
        const FaultScript faults{"abort:hang"};
        World1 world;
        std::thread{[&] { fake_nccl().comm_abort(world.comm); }}.detach();
        for (;;) poll(world.comm);
      },
      "(after ncclCommAbort|while another thread)");
}

TEST_F(FakeNcclDeathTest, CallsAtTheWrongTime) {
  EXPECT_VIOLATION(
      {
        World1 world;
        world.sum();
        world.sum();
      },
      "a collective while ncclInProgress");
  EXPECT_VIOLATION(
      {
        NcclComm comm = nullptr;
        const FaultScript faults{"init:hang"};
        init(comm, new_id());
        fake_nccl().comm_finalize(comm);
      },
      "ncclCommFinalize while the communicator is not open");
  EXPECT_VIOLATION(
      {
        const FaultScript faults{"op1:err=2"};
        World1 world;
        world.sum();
        world.sum();
      },
      "a collective after an error");
  EXPECT_VIOLATION(
      {
        World1 world;
        fake_nccl().comm_destroy(world.comm);
      },
      "ncclCommDestroy before ncclCommFinalize is done");
}

TEST_F(FakeNcclDeathTest, TwoCallsAtOnce) {
  EXPECT_VIOLATION(
      {
        World1 world;
        const std::jthread other{[&] { for (;;) poll(world.comm); }};
        for (;;) poll(world.comm);
      },
      "while another thread is in a call");
}

TEST_F(FakeNcclDeathTest, Groups) {
  EXPECT_VIOLATION(
      {
        World1 world;
        fake_nccl().group_start();
        world.sum();
        fake_nccl().comm_abort(world.comm);
      },
      "ncclCommAbort while a group is open");
  EXPECT_VIOLATION(
      {
        World1 world;
        fake_nccl().group_start();
        fake_nccl().comm_finalize(world.comm);
      },
      "ncclCommFinalize while a group is open");
  EXPECT_VIOLATION(fake_nccl().group_end(), "ncclGroupEnd without ncclGroupStart");
}

/// A race on purpose, which ThreadSanitizer would report before the fake does.
[[gnu::noinline, gnu::no_sanitize("thread")]] void write_meanwhile(float& value) { value = 0.0F; }

TEST_F(FakeNcclDeathTest, Buffers) {
  EXPECT_VIOLATION(
      {
        const FaultScript slow{"op1:slow=50ms"};
        World1 world;
        world.sum();
        write_meanwhile(world.values[1]);
        for (;;) std::this_thread::yield();
      },
      "the buffer of collective 1 was written before it was done");
  EXPECT_VIOLATION(
      {
        World1 world;
        fake_nccl().all_gather(world.values + 1, world.values, 4, NcclDataType::Float32, world.comm,
                               world.device.communication_stream());
      },
      "the buffers overlap");
  EXPECT_VIOLATION(
      {
        World1 world;
        world.sum();
        poll(world.comm);
        world.sum();
      },
      "collective 2 does not wait for the computing stream");
}

TEST_F(FakeNcclDeathTest, Ids) {
  EXPECT_VIOLATION(
      {
        NcclComm comm = nullptr;
        const auto id = new_id();
        init(comm, id);
        init(comm, id);
      },
      "a unique id is good for one communicator");
  EXPECT_VIOLATION(
      {
        NcclComm comm = nullptr;
        const auto id = new_id();
        init(comm, id);
        poll(comm);
        init(comm, id);
      },
      "a unique id is good for one communicator");
  EXPECT_VIOLATION(
      {
        NcclComm comm = nullptr;
        init(comm, NcclUniqueId{});
      },
      "the unique id was not made by ncclGetUniqueId");
}

TEST_F(FakeNcclDeathTest, Configurations) {
  const auto with = [](NcclConfig config) {
    NcclComm comm = nullptr;
    init(comm, new_id(), config);
  };
  EXPECT_VIOLATION(with({.size = 16}), "size");
  EXPECT_VIOLATION(with({.magic = 1}), "magic");
  EXPECT_VIOLATION(with({.version = 22105}), "version");
  EXPECT_VIOLATION(with({.blocking = 1}), "cannot be aborted");
}

TEST_F(FakeNcclDeathTest, ScriptsThatSayNothing) {
  for (const std::string script :
       {"op1", "op1:err=9", "rank1:op1:hang", "init:inprogress", "abort:slow=3"}) {
    EXPECT_VIOLATION(
        {
          const FaultScript faults{script};
          new_id();
        },
        "FAKENCCL has no fault");
  }
}

}  // namespace
}  // namespace hone::testing

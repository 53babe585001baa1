// What a rank tells of itself: the recorder, the communicator that fills it, and the bytes of a
// heartbeat.
#include "hone/distributed/flight_recorder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "fakes/forwarding_communicator.hpp"
#include "hone/core/error.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "hone/distributed/watched_communicator.hpp"

namespace hone::distributed {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// Works by itself, as GPUs do.
class AsynchronousCommunicator final : public hone::testing::ForwardingCommunicator {
 public:
  using ForwardingCommunicator::ForwardingCommunicator;
  bool is_asynchronous() const override { return true; }
};

const CollectiveCall kSum = all_reduce_call(4, DType::Float32, ReduceOp::Sum);

TEST(FlightRecorder, TellsWhatARankIsAt) {
  FlightRecorder recorder;
  EXPECT_EQ(recorder.pulse(), Pulse{});
  recorder.enter("data");
  recorder.note_step(3);
  recorder.begin(kSum);
  EXPECT_TRUE(recorder.pulse().in_collective);
  recorder.end();
  recorder.begin(barrier_call());
  recorder.end();
  const auto pulse = recorder.pulse();
  EXPECT_EQ(pulse.phase, "data");
  EXPECT_EQ(pulse.step, 3);
  EXPECT_EQ(pulse.sequence, 2);
  EXPECT_FALSE(pulse.in_collective);
  EXPECT_THAT(pulse.recent, ElementsAre(kSum, barrier_call()));
}

TEST(FlightRecorder, KeepsTheLastCollectives) {
  FlightRecorder recorder;
  for (std::int64_t i = 1; i <= 3000; ++i) {
    recorder.begin(all_reduce_call(i, DType::Int64, ReduceOp::Max));
    recorder.end();
  }
  const auto pulse = recorder.pulse();
  EXPECT_EQ(pulse.sequence, 3000);
  ASSERT_EQ(pulse.recent.size(), kRecentCalls);
  EXPECT_EQ(pulse.recent.front().count, 3000 - std::int64_t{kRecentCalls} + 1);
  EXPECT_EQ(pulse.recent.back().count, 3000);
}

TEST(FlightRecorder, LeavesOutWhatACollectiveMakesForItsOwn) {
  FlightRecorder recorder;
  recorder.begin(kSum);
  recorder.begin(barrier_call());
  recorder.end();
  EXPECT_TRUE(recorder.pulse().in_collective) << "of the outer one";
  recorder.end();
  EXPECT_FALSE(recorder.pulse().in_collective);
  EXPECT_THAT(recorder.pulse().recent, ElementsAre(kSum));
}

TEST(FlightRecorder, CountsPhasesAndKnowsTheEnd) {
  FlightRecorder recorder;
  recorder.enter("data");
  recorder.enter("data");
  EXPECT_EQ(recorder.pulse().num_phases, 2);
  EXPECT_FALSE(recorder.pulse().is_leaving);
  recorder.leave();
  EXPECT_EQ(recorder.pulse().phase, "leaving");
  EXPECT_TRUE(recorder.pulse().is_leaving);
}

TEST(FlightRecorder, KnowsHowLongPhasesTake) {
  FlightRecorder recorder;
  for (int i = 0; i < 30; ++i) {
    recorder.enter("backward", /*is_regular=*/true);
    if (i == 7) std::this_thread::sleep_for(std::chrono::milliseconds{30});
    recorder.enter("data", /*is_regular=*/true);
    recorder.enter("checkpoint");
  }
  EXPECT_EQ(recorder.pulse().phase_p99, 0.0) << "most of these save nothing, which says nothing";
  recorder.enter("data", /*is_regular=*/true);
  EXPECT_LT(recorder.pulse().phase_p99, 0.03) << "data is quick";
  recorder.enter("backward", /*is_regular=*/true);
  EXPECT_GE(recorder.pulse().phase_p99, 0.03);
}

TEST(WatchedCommunicator, RecordsEachCollectiveAndPassesItOn) {
  FlightRecorder recorder;
  WatchedCommunicator comm{std::make_unique<LoopbackCommunicator>(), recorder};
  EXPECT_EQ(comm.size(), 1);
  EXPECT_EQ(comm.backend(), "loopback");
  float values[4] = {1, 2, 3, 4};
  comm.all_reduce(values, 4, DType::Float32, ReduceOp::Sum);
  comm.broadcast(values, 2, DType::Float32, 0);
  EXPECT_EQ(comm.all_gather_bytes(std::as_bytes(std::span{values})).size(), 1U);
  EXPECT_EQ(comm.all_to_all_bytes(std::vector<std::vector<std::byte>>(1)).size(), 1U);
  comm.barrier();
  EXPECT_THAT(recorder.pulse().recent,
              ElementsAre(kSum, broadcast_call(2, DType::Float32, 0), all_gather_bytes_call(),
                          all_to_all_bytes_call(), barrier_call()));
  EXPECT_THROW(comm.all_reduce(nullptr, 4, DType::Float32, ReduceOp::Sum), CommunicatorError);
  EXPECT_FALSE(recorder.pulse().in_collective) << "a failed one ended too";
}

TEST(WatchedCommunicator, RecordsEachOfAGroup) {
  float values[2] = {};
  const std::vector<RankBlocks> all{{values, 2, DType::Float32}, {values, 1, DType::Int64}};
  LoopbackCommunicator loopback;
  for (const bool is_asynchronous : {false, true}) {
    std::unique_ptr<Communicator> inner = std::make_unique<hone::testing::ForwardingCommunicator>(loopback);
    if (is_asynchronous) inner = std::make_unique<AsynchronousCommunicator>(loopback);
    FlightRecorder recorder;
    WatchedCommunicator comm{std::move(inner), recorder};
    comm.all_gathers(all);
    comm.all_gathers({});
    EXPECT_THAT(recorder.pulse().recent, ElementsAre(all_gather_call(2, DType::Float32),
                                                     all_gather_call(1, DType::Int64)))
        << is_asynchronous;
  }
}

TEST(Pulse, SurvivesTheWire) {
  Pulse pulse{.phase = "backward",
              .phase_p99 = 0.25,
              .num_phases = 31,
              .step = 12,
              .sequence = 900,
              .in_collective = true,
              .is_leaving = true,
              .recent = {kSum, broadcast_call(7, DType::Int64, 2), all_gather_bytes_call(),
                         all_to_all_bytes_call(), barrier_call()}};
  EXPECT_EQ(pulse_of(to_bytes(pulse)), pulse);
  EXPECT_EQ(pulse_of(to_bytes(Pulse{})), Pulse{});
}

TEST(Pulse, RefusesWhatIsNone) {
  const std::string bytes = to_bytes({.phase = "data", .sequence = 2, .recent = {kSum, barrier_call()}});
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(pulse_of(std::string_view{bytes}.substr(0, size)), InputError) << size;
  }
  EXPECT_THROW(pulse_of(bytes + 'x'), InputError);
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const char value : {'\0', '\x7f', '\xff'}) {
      auto other = bytes;
      other[at] = value;
      try {
        pulse_of(other);  // another pulse, or refused: never read past its end
      } catch (const InputError&) {
      }
    }
  }
}

}  // namespace
}  // namespace hone::distributed

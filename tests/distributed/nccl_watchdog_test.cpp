// The watchdog on the heartbeats of ranks that are out of step on NCCL, which by itself would only
// hang.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "distributed/fake_nccl.hpp"
#include "hone/distributed/nccl_communicator.hpp"
#include "hone/distributed/thread_world.hpp"
#include "hone/distributed/watchdog.hpp"
#include "hone/distributed/watched_communicator.hpp"

namespace hone::testing {
namespace {

using distributed::FlightRecorder;
using distributed::NcclCommunicator;
using distributed::ThreadWorld;
using distributed::WatchedCommunicator;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

/// What the watchdog first finds that ends the job, looking every 50 ms as long as `ranks` run.
distributed::Finding first_end(std::vector<FlightRecorder>& ranks, const std::atomic<bool>& run) {
  distributed::Watchdog watchdog{{"rank 0", "rank 1"}, {}, Clock::now()};
  while (run) {
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      watchdog.heard(static_cast<int>(rank), ranks[rank].pulse(), Clock::now());
    }
    for (const auto& finding : watchdog.look(Clock::now())) {
      if (finding.ends_job) return finding;
    }
  }
  return {};
}

TEST(NcclWatchdog, RanksOutOfStepAreNamedWithinTwoSeconds) {
  std::vector<FlightRecorder> recorders(2);
  std::atomic<bool> run{true};
  std::thread ranks{[&] {
    ThreadWorld{2}.run([&](Communicator& host) {
      FakeDevice device;
      auto& recorder = recorders[static_cast<std::size_t>(host.rank())];
      recorder.enter("backward", /*is_regular=*/true);
      WatchedCommunicator comm{
          std::make_unique<NcclCommunicator>(
              fake_nccl(), device, host,
              distributed::NcclTimes{.collective = std::chrono::milliseconds{4000}}),
          recorder};
      std::vector<float> values(20);
      comm.start_all_reduce(values.data(), 20, DType::Float32, ReduceOp::Sum);
      comm.start_all_reduce(values.data(), host.rank() == 0 ? 20 : 10, DType::Float32, ReduceOp::Sum);
      EXPECT_THROW(comm.wait(), CommunicatorError);  // it hangs until its deadline
    });
    run = false;
  }};
  const auto start = Clock::now();
  const auto finding = first_end(recorders, run);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds{2});
  EXPECT_EQ(finding.code, ExitCode::Internal);
  EXPECT_THAT(finding.text, AllOf(HasSubstr("all_reduce(sum, 20 x float32)"),
                                  HasSubstr("all_reduce(sum, 10 x float32)"), HasSubstr("rank 1")));
  ranks.join();
}

}  // namespace
}  // namespace hone::testing

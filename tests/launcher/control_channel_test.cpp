// The ranks' connection beside MPI, between threads of one process: who hears what when a rank fails, dies or
// leaves. tests/launcher/watched_job_test.cpp has whole jobs.
#include "hone/launcher/control_channel.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "handshake.hpp"
#include "hone/core/error.hpp"
#include "hone/distributed/thread_world.hpp"
#include "hone/distributed/watched_communicator.hpp"
#include "loop_thread.hpp"

namespace hone::launcher {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Clock = std::chrono::steady_clock;

/// What one rank's hooks were told.
class Told {
 public:
  ControlHooks hooks() {
    return {.report =
                [this](std::string_view text) {
                  const std::scoped_lock lock{mutex_};
                  reports_.emplace_back(text);
                },
            .end =
                [this](const EndOfJob& end) {
                  const std::scoped_lock lock{mutex_};
                  ends_.push_back(end);
                }};
  }
  std::vector<EndOfJob> ends() const {
    const std::scoped_lock lock{mutex_};
    return ends_;
  }
  std::vector<std::string> reports() const {
    const std::scoped_lock lock{mutex_};
    return reports_;
  }
  /// The end, waited for; an empty cause where none came in time.
  EndOfJob wait(std::chrono::milliseconds patience) const {
    const auto until = Clock::now() + patience;
    while (ends().empty() && Clock::now() < until) std::this_thread::sleep_for(std::chrono::milliseconds{2});
    return ends().empty() ? EndOfJob{} : ends().front();
  }

 private:
  mutable std::mutex mutex_;
  std::vector<EndOfJob> ends_;
  std::vector<std::string> reports_;
};

/// One rank of a job on threads, connected.
struct Rank {
  Rank(Communicator& comm, ControlOptions options = {})
      : channel(open_control_channel(comm, "rank " + std::to_string(comm.rank()) + " @ here", "here", recorder,
                                     std::move(options), told.hooks())) {}

  Told told;
  distributed::FlightRecorder recorder;
  std::unique_ptr<ControlChannel> channel;
};

constexpr std::chrono::seconds kSecond{1};

TEST(ControlChannel, RanksComeAndGoUnnoticed) {
  for (const int ranks : {1, 2, 4}) {
    distributed::ThreadWorld{ranks}.run([](Communicator& comm) {
      Rank rank{comm, {.watchdog = {.lost_after = std::chrono::milliseconds{200}},
                       .heartbeat = std::chrono::milliseconds{20}}};
      std::this_thread::sleep_for(std::chrono::milliseconds{400});
      comm.barrier();
      // Not all at once: who leaves first, the hub, is not missed.
      std::this_thread::sleep_for(std::chrono::milliseconds{400 * comm.rank()});
      rank.channel->close();
      EXPECT_THAT(rank.told.ends(), IsEmpty());
      EXPECT_THAT(rank.told.reports(), IsEmpty());
    });
  }
}

TEST(ControlChannel, AFailureReachesAllOthersWithItsCauseAndCode) {
  for (const int failing : {0, 1, 2}) {
    distributed::ThreadWorld{3}.run([&](Communicator& comm) {
      Rank rank{comm};
      comm.barrier();
      if (comm.rank() == failing) {
        rank.channel->fail(65, "no such file");
        comm.barrier();
        EXPECT_THAT(rank.told.ends(), IsEmpty()) << "it knows";
        return;
      }
      const auto end = rank.told.wait(kSecond);
      EXPECT_EQ(end.rank, failing);
      EXPECT_EQ(end.code, 65);
      EXPECT_EQ(end.cause, "no such file");
      EXPECT_TRUE(end.told);
      comm.barrier();
      EXPECT_EQ(rank.told.ends().size(), 1U);
    });
  }
}

TEST(ControlChannel, ADeadRankIsNamedToAllWithinASecond) {
  for (const int dying : {0, 1, 2}) {
    distributed::ThreadWorld{3}.run([&](Communicator& comm) {
      Rank rank{comm};
      rank.recorder.enter("backward");
      comm.barrier();
      if (comm.rank() == dying) {
        rank.channel.reset();  // as a killed process: no goodbye
        comm.barrier();
        return;
      }
      const auto end = rank.told.wait(kSecond);
      EXPECT_EQ(end.rank, dying);
      EXPECT_EQ(end.code, 75);
      EXPECT_THAT(end.cause, HasSubstr("rank " + std::to_string(dying) + " @ here died"));
      EXPECT_FALSE(end.told);
      comm.barrier();
    });
  }
}

TEST(ControlChannel, RanksOutOfStepAreNamedWithinTwoSeconds) {
  distributed::ThreadWorld{3}.run([](Communicator& comm) {
    Rank rank{comm};
    comm.barrier();
    rank.recorder.begin(comm.rank() == 2 ? distributed::barrier_call()
                                         : distributed::all_reduce_call(9, DType::Float32, ReduceOp::Sum));
    const auto end = rank.told.wait(2 * kSecond);
    EXPECT_EQ(end.code, 70);
    EXPECT_THAT(end.cause, AllOf(HasSubstr("out of step"), HasSubstr("makes all_reduce(sum, 9 x float32)"),
                                 HasSubstr("rank 2 @ here makes barrier()")));
    comm.barrier();
  });
}

TEST(ControlChannel, WhoIsWaitedForIsReportedAndThenEndsTheJob) {
  const ControlOptions options{.watchdog = {.report_after = std::chrono::milliseconds{300},
                                            .timeout = std::chrono::milliseconds{900}},
                               .heartbeat = std::chrono::milliseconds{50}};
  for (const auto mode : {WatchdogMode::Abort, WatchdogMode::Report, WatchdogMode::Off}) {
    distributed::ThreadWorld{3}.run([&](Communicator& comm) {
      auto own = options;
      own.mode = mode;
      Rank rank{comm, own};
      rank.recorder.enter(comm.rank() == 1 ? "score" : "train");
      comm.barrier();
      if (comm.rank() != 1) rank.recorder.begin(distributed::barrier_call());
      const auto end = rank.told.wait(2 * kSecond);
      EXPECT_EQ(end.cause.empty(), mode != WatchdogMode::Abort);
      if (mode == WatchdogMode::Abort) {
        EXPECT_EQ(end.rank, 1);
        EXPECT_EQ(end.code, 75);
        EXPECT_THAT(end.cause, HasSubstr("rank 1 @ here is waited for: it is in phase score"));
      }
      comm.barrier();
      if (comm.rank() == 0) {
        EXPECT_EQ(rank.told.reports().empty(), mode == WatchdogMode::Off);
        EXPECT_THAT(rank.told.reports(), Each(HasSubstr("rank 1 @ here is waited for")));
      }
      rank.channel->close();
    });
  }
}

/// A socket and its peer, and what came of admit() and introduce() on them.
struct Meeting {
  int admitted = 0;  ///< the rank; 0: refused
  bool introduced = false;
};

Meeting meet(const control::Secret& hub_secret, const control::Secret& spoke_secret, int rank, int size) {
  namespace asio = boost::asio;
  using asio::ip::tcp;
  control::LoopThread loop;
  tcp::acceptor acceptor{loop.context(), tcp::endpoint{asio::ip::make_address("127.0.0.1"), 0}};
  Meeting meeting;
  const auto hub = [&]() -> asio::awaitable<void> {
    auto socket = co_await acceptor.async_accept(control::use_awaitable);
    meeting.admitted = co_await control::admit(socket, hub_secret, size);
  };
  const auto spoke = [&]() -> asio::awaitable<void> {
    tcp::socket socket{loop.context()};
    co_await socket.async_connect(acceptor.local_endpoint(), control::use_awaitable);
    co_await control::introduce(socket, spoke_secret, rank);
    meeting.introduced = true;
  };
  std::thread other{[&] { loop.run(hub(), 3 * kSecond); }};
  loop.run(spoke(), 3 * kSecond);
  other.join();
  return meeting;
}

TEST(Handshake, AdmitsWhoKnowsTheSecret) {
  const auto secret = control::make_secret();
  const auto met = meet(secret, secret, 3, 4);
  EXPECT_EQ(met.admitted, 3);
  EXPECT_TRUE(met.introduced);
  EXPECT_EQ(control::secret_of(control::to_hex(secret)), secret);
}

TEST(Handshake, RefusesWhoDoesNot) {
  const auto secret = control::make_secret();
  auto other = secret;
  other[15] ^= 1;
  const auto met = meet(secret, other, 3, 4);
  EXPECT_EQ(met.admitted, 0);
  EXPECT_FALSE(met.introduced);
  EXPECT_EQ(meet(secret, secret, 4, 4).admitted, 0) << "there is no such rank";
  EXPECT_EQ(meet(secret, secret, 0, 4).admitted, 0) << "that is the hub";
}

}  // namespace
}  // namespace hone::launcher

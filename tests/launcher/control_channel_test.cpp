// The ranks' connection beside MPI, between threads of one process: who hears what when a rank
// fails, dies or leaves. processes_test and tests/system/faults_test.py have whole jobs.
#include "hone/launcher/control_channel.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "address.hpp"
#include "connection.hpp"
#include "handshake.hpp"
#include "hone/core/error.hpp"
#include "hone/distributed/thread_world.hpp"
#include "hone/distributed/watched_communicator.hpp"
#include "hub.hpp"
#include "loop_thread.hpp"
#include "spoke.hpp"

namespace hone::launcher {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
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
    while (ends().empty() && Clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
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
      : channel(open_control_channel(comm, "rank " + std::to_string(comm.rank()) + " @ here",
                                     "here", recorder, std::move(options), told.hooks())) {}

  Told told;
  distributed::FlightRecorder recorder;
  std::unique_ptr<ControlChannel> channel;
};

constexpr std::chrono::seconds kSecond{1};

std::string address_or_problem(bool one_host, const std::string& interface) {
  try {
    return control::control_address(one_host, interface);
  } catch (const LaunchError& error) {
    return error.what();
  }
}

TEST(ControlAddress, IsThisHostsOwnWhereAllRanksAreOnIt) {
  EXPECT_EQ(address_or_problem(/*one_host=*/true, ""), "127.0.0.1");
}

TEST(ControlAddress, IsThatOfTheInterfaceThatIsNamed) {
  for (const bool one_host : {true, false}) {
    EXPECT_EQ(address_or_problem(one_host, "lo"), "127.0.0.1");
    EXPECT_THAT(address_or_problem(one_host, "nosuch0"),
                AllOf(HasSubstr("there is no interface \"nosuch0\""), HasSubstr("lo (127.0.0.1)"),
                      HasSubstr("--control_interface")));
  }
}

TEST(ControlAddress, LeadsElsewhereWhereThereAreSeveralHosts) {
  // A machine without a network says so instead.
  EXPECT_THAT(address_or_problem(/*one_host=*/false, ""),
              AnyOf(HasSubstr("no network interface leads to other hosts"),
                    Not(StartsWith("127."))));
}

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
        rank.channel->fail(65, "no such file", /*told=*/true);
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
      Rank rank{comm, {.heartbeat = std::chrono::milliseconds{20}}};
      rank.recorder.enter("backward");
      // Until a heartbeat has told of it.
      std::this_thread::sleep_for(std::chrono::milliseconds{200});
      comm.barrier();
      if (comm.rank() == dying) {
        rank.channel.reset();  // as a killed process: no goodbye
        comm.barrier();
        return;
      }
      const auto end = rank.told.wait(kSecond);
      EXPECT_EQ(end.rank, dying);
      EXPECT_EQ(end.code, 75);
      EXPECT_THAT(end.cause, AllOf(HasSubstr("rank " + std::to_string(dying) + " @ here died"),
                                   HasSubstr("last heard of in phase backward")));
      EXPECT_FALSE(end.told);
      comm.barrier();
    });
  }
}

TEST(ControlChannel, ADeadRankIsReportedWhereNothingIsToEndForIt) {
  for (const int dying : {0, 2}) {
    distributed::ThreadWorld{3}.run([&](Communicator& comm) {
      Rank rank{comm, {.mode = WatchdogMode::Report, .heartbeat = std::chrono::milliseconds{20}}};
      comm.barrier();
      if (comm.rank() == dying) rank.channel.reset();
      std::this_thread::sleep_for(std::chrono::milliseconds{600});
      comm.barrier();
      if (comm.rank() == dying) return;
      EXPECT_THAT(rank.told.ends(), IsEmpty());
      // Rank 0 finds out about all others, they about rank 0.
      const bool finds_out = dying == 0 || comm.rank() == 0;
      EXPECT_EQ(rank.told.reports().size(), finds_out ? 1U : 0U);
      EXPECT_THAT(rank.told.reports(), Each(HasSubstr("died: its connection ended")));
      rank.channel->close();
    });
  }
}

TEST(ControlChannel, RanksOutOfStepAreNamedWithinTwoSeconds) {
  distributed::ThreadWorld{3}.run([](Communicator& comm) {
    Rank rank{comm};
    comm.barrier();
    const auto sum = distributed::all_reduce_call(9, DType::Float32, ReduceOp::Sum);
    rank.recorder.begin(comm.rank() == 2 ? distributed::barrier_call() : sum);
    const auto end = rank.told.wait(2 * kSecond);
    EXPECT_EQ(end.code, 70);
    EXPECT_THAT(end.cause, AllOf(HasSubstr("out of step"),
                                 HasSubstr("makes all_reduce(sum, 9 x float32)"),
                                 HasSubstr("rank 2 @ here makes barrier()")));
    comm.barrier();
  });
}

TEST(ControlChannel, WhoIsWaitedForIsReportedAndThenEndsTheJob) {
  const ControlOptions options{.watchdog = {.report_after = std::chrono::milliseconds{300},
                                            .timeout = std::chrono::milliseconds{900}},
                               .heartbeat = std::chrono::milliseconds{50}};
  for (const auto mode : {WatchdogMode::Abort, WatchdogMode::Report}) {
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
        EXPECT_THAT(rank.told.reports(), Not(IsEmpty()));
        EXPECT_THAT(rank.told.reports(), Each(HasSubstr("rank 1 @ here is waited for")));
      }
      rank.channel->close();
    });
  }
}

std::vector<std::string> names_of(int ranks) {
  std::vector<std::string> names;
  for (int rank = 0; rank < ranks; ++rank) {
    names.push_back("rank " + std::to_string(rank) + " @ here");
  }
  return names;
}

/// The error that `work` throws; empty: none.
template <typename Function>
std::string error_of(Function&& work) {
  try {
    work();
    return "";
  } catch (const LaunchError& error) {
    return error.what();
  }
}

constexpr std::chrono::milliseconds kGrace{600};
constexpr const char* kRank0 = "rank 0 @ here";

TEST(Rendezvous, WaitsForARankThatComesThreeSecondsLate) {
  const distributed::FlightRecorder recorder;
  Told of_hub, of_spokes[2];
  control::Hub hub{names_of(3), "127.0.0.1", recorder, {}, of_hub.hooks()};
  const auto began = Clock::now();
  std::vector<std::unique_ptr<control::Spoke>> spokes;
  for (int i = 0; i < 2; ++i) {
    spokes.push_back(std::make_unique<control::Spoke>(i + 1, kRank0, recorder, ControlOptions{},
                                                      of_spokes[i].hooks()));
  }
  std::thread late{[&] {
    spokes[0]->connect("127.0.0.1", hub.port(), hub.secret(), 9 * kSecond, kGrace);
    std::this_thread::sleep_for(3 * kSecond);
    spokes[1]->connect("127.0.0.1", hub.port(), hub.secret(), 9 * kSecond, kGrace);
  }};
  hub.wait_for_all(9 * kSecond, kGrace);
  EXPECT_GE(Clock::now() - began, 3 * kSecond);
  EXPECT_LT(Clock::now() - began, 4 * kSecond);
  late.join();
  for (const auto& spoke : spokes) spoke->arm();
  std::this_thread::sleep_for(kSecond);
  EXPECT_THAT(of_hub.ends(), IsEmpty()) << "who was late is not lost";
  // And it is one of them.
  spokes[1]->fail(65, "no such file", /*told=*/true);
  EXPECT_EQ(of_hub.wait(kSecond).rank, 2);
  EXPECT_EQ(of_spokes[0].wait(kSecond).rank, 2);
}

TEST(Rendezvous, OfAllRanksWaitsToo) {
  distributed::ThreadWorld{3}.run([](Communicator& comm) {
    if (comm.rank() == 1) std::this_thread::sleep_for(3 * kSecond);
    Rank rank{comm};
    comm.barrier();
    rank.channel->close();
    EXPECT_THAT(rank.told.ends(), IsEmpty());
    EXPECT_THAT(rank.told.reports(), IsEmpty());
  });
}

/// Rank 2 of 3 is stopped before it connects, and so comes to no agreement on that either.
TEST(Rendezvous, NamesARankThatNeverComes) {
  const distributed::FlightRecorder recorder;
  Told of_hub, of_spoke;
  control::Hub hub{names_of(3), "127.0.0.1", recorder, {}, of_hub.hooks()};
  control::Spoke spoke{1, kRank0, recorder, {}, of_spoke.hooks()};
  spoke.connect("127.0.0.1", hub.port(), hub.secret(), kSecond, kGrace);
  const auto began = Clock::now();
  const auto error = error_of([&] { hub.wait_for_all(2 * kSecond, kGrace); });
  EXPECT_LT(Clock::now() - began, 3 * kSecond);
  EXPECT_THAT(error, AllOf(HasSubstr("rank 2 @ here did not connect to rank 0"),
                           HasSubstr("within 2 s"), Not(HasSubstr("rank 1"))));
  const auto gave_up = Clock::now();
  of_hub.wait(kGrace + kSecond);
  EXPECT_GE(Clock::now() - gave_up, kGrace / 2) << "there is time to agree";
  for (const auto* told : {&of_hub, &of_spoke}) {
    const auto end = told->wait(kGrace + kSecond);
    EXPECT_EQ(end.rank, 2);
    EXPECT_EQ(end.code, 69);
    EXPECT_EQ(end.cause, error);
    EXPECT_FALSE(end.told);
  }
}

/// Whoever has the port takes connections, as the kernel does for a stopped rank 0, and is silent.
TEST(Rendezvous, NamesARank0ThatDoesNotAnswer) {
  namespace asio = boost::asio;
  control::LoopThread loop;
  asio::ip::tcp::acceptor silent{loop.context(), {asio::ip::make_address("127.0.0.1"), 0}};
  const distributed::FlightRecorder recorder;
  Told told;
  control::Spoke spoke{1, kRank0, recorder, {}, told.hooks()};
  const auto began = Clock::now();
  const auto error = error_of([&] {
    spoke.connect("127.0.0.1", silent.local_endpoint().port(), control::make_secret(), kSecond,
                  kGrace);
  });
  EXPECT_LT(Clock::now() - began, 2 * kSecond + control::kHandshakeTime);
  EXPECT_THAT(error, HasSubstr("no connection to rank 0 @ here at 127.0.0.1"));
  const auto end = told.wait(kGrace + kSecond);
  EXPECT_EQ(end.rank, 0);
  EXPECT_EQ(end.code, 69);
  EXPECT_EQ(end.cause, error);
}

/// Rank 0's end that admits ranks, tells once what it is at, and then stands still.
class StoppedHub {
 public:
  StoppedHub() {
    boost::asio::co_spawn(loop_.context(), accept(), boost::asio::detached);
  }
  ~StoppedHub() {
    loop_.stop([this] {
      acceptor_.close();
      for (const auto& connection : connections_) connection->close();
    });
    connections_.clear();
  }
  unsigned short port() const { return acceptor_.local_endpoint().port(); }
  const control::Secret& secret() const { return secret_; }
  /// All ranks are armed.
  void beat_once() {
    boost::asio::post(loop_.context(), [this] {
      const auto bytes = distributed::to_bytes({.phase = "checkpoint", .step = 7});
      for (const auto& connection : connections_) {
        connection->send(control::FrameType::Alive, bytes);
      }
    });
  }

 private:
  boost::asio::awaitable<void> accept() {
    try {
      while (true) {
        auto socket = co_await acceptor_.async_accept(control::use_awaitable);
        co_await control::admit(socket, secret_, 9);
        connections_.push_back(std::make_shared<control::Connection>(std::move(socket)));
      }
    } catch (const control::system_error&) {
    }
  }

  control::Secret secret_ = control::make_secret();
  std::vector<std::shared_ptr<control::Connection>> connections_;
  control::LoopThread loop_;
  boost::asio::ip::tcp::acceptor acceptor_{loop_.context(),
                                           {boost::asio::ip::make_address("127.0.0.1"), 0}};
};

/// mpirun ends the others soon after the first one leaves: each must know by then why.
TEST(ControlChannel, AllRanksFindAtOnceThatRank0StandsStill) {
  const ControlOptions options{.watchdog = {.lost_after = std::chrono::milliseconds{1500}}};
  const distributed::FlightRecorder recorder;
  StoppedHub hub;
  Told told[3];
  std::vector<std::unique_ptr<control::Spoke>> spokes;
  for (int i = 0; i < 3; ++i) {
    spokes.push_back(
        std::make_unique<control::Spoke>(i + 1, kRank0, recorder, options, told[i].hooks()));
    spokes.back()->connect("127.0.0.1", hub.port(), hub.secret(), kSecond, kGrace);
    spokes.back()->arm();
    // Their heartbeats are not in step.
    std::this_thread::sleep_for(std::chrono::milliseconds{300});
  }
  hub.beat_once();
  std::vector<std::string> causes(3);
  std::vector<Clock::time_point> times(3);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      causes[i] = told[i].wait(4 * kSecond).cause;
      times[i] = Clock::now();
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(causes, Each(AllOf(HasSubstr("rank 0 @ here is lost: no heartbeat for 1 s"),
                                 HasSubstr("in phase checkpoint"), HasSubstr("after update 7"))));
  const auto [first, last] = std::ranges::minmax(times);
  EXPECT_LT(last - first, std::chrono::milliseconds{400});
}

/// A socket and its peer, and what came of admit() and introduce() on them.
struct Meeting {
  int admitted = 0;  ///< the rank; 0: refused
  bool introduced = false;
};

Meeting meet(const control::Secret& hub_secret, const control::Secret& spoke_secret, int rank,
             int size) {
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

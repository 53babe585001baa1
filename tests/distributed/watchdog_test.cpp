// What the watchdog makes of heartbeats, with a clock of the test's own.
#include "hone/distributed/watchdog.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hone::distributed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const CollectiveCall kSum = all_reduce_call(4, DType::Float32, ReduceOp::Sum);

class WatchdogTest : public ::testing::Test {
 protected:
  WatchdogTest() { restart({}); }

  void restart(WatchdogOptions options) {
    now_ = {};
    watchdog_.emplace(std::vector<std::string>{"rank 0 @ a", "rank 1 @ a", "rank 2 @ b"}, options, now_);
  }

  static Pulse in_collective(std::int64_t sequence, CollectiveCall call = kSum) {
    return {.phase = "reduce", .step = 7, .sequence = sequence, .in_collective = true, .recent = {call}};
  }
  static Pulse computing(std::int64_t sequence, std::string phase = "backward", double p99 = 0.0) {
    Pulse pulse{.phase = std::move(phase), .phase_p99 = p99, .step = 7, .sequence = sequence};
    if (sequence > 0) pulse.recent = {kSum};
    return pulse;
  }

  /// `seconds` pass in which the ranks go on telling the same, several looks a second.
  std::vector<Finding> pass(double seconds, const std::vector<std::optional<Pulse>>& pulses) {
    std::vector<Finding> all;
    for (int tick = 0; tick < seconds * 4; ++tick) {
      now_ += std::chrono::milliseconds{250};
      for (std::size_t rank = 0; rank < pulses.size(); ++rank) {
        if (pulses[rank]) watchdog_->heard(static_cast<int>(rank), *pulses[rank], now_);
      }
      for (auto& finding : watchdog_->look(now_)) all.push_back(std::move(finding));
    }
    return all;
  }

  std::optional<Watchdog> watchdog_;
  Watchdog::Time now_;
};

TEST_F(WatchdogTest, FindsNothingWhereAllIsWell) {
  EXPECT_THAT(pass(60, {computing(3), computing(3), computing(3)}), IsEmpty());
  EXPECT_THAT(pass(9, {in_collective(4), in_collective(4), computing(3)}), IsEmpty()) << "not for long";
  EXPECT_THAT(pass(60, {computing(4), computing(4), computing(4)}), IsEmpty());
}

TEST_F(WatchdogTest, ADeadRankIsNamedAtOnceWithWhatItWasAt) {
  pass(1, {computing(3), computing(3), in_collective(4)});
  watchdog_->closed(2, /*said_goodbye=*/false);
  const auto findings = watchdog_->look(now_);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_TRUE(findings[0].ends_job);
  EXPECT_EQ(findings[0].rank, 2);
  EXPECT_EQ(findings[0].code, ExitCode::Stopped);
  EXPECT_THAT(findings[0].text, AllOf(HasSubstr("rank 2 @ b died"), HasSubstr("phase reduce"),
                                      HasSubstr("after update 7"), HasSubstr("all_reduce(sum, 4 x float32)")));
  EXPECT_THAT(watchdog_->look(now_), IsEmpty()) << "once";
}

TEST_F(WatchdogTest, ARankThatSaidGoodbyeIsNotMissed) {
  watchdog_->closed(1, /*said_goodbye=*/true);
  EXPECT_THAT(pass(60, {computing(3), std::nullopt, computing(3)}), IsEmpty());
}

TEST_F(WatchdogTest, NobodyWaitsForARankThatLeft) {
  pass(1, {in_collective(4), computing(3), in_collective(4)});
  watchdog_->closed(1, /*said_goodbye=*/true);
  for (const auto& finding : pass(60, {in_collective(4), std::nullopt, in_collective(4)})) {
    EXPECT_NE(finding.rank, 1) << finding.text;
  }
}

TEST_F(WatchdogTest, ARankWithoutHeartbeatsIsLostWithinTenSeconds) {
  pass(1, {computing(3), computing(3), computing(3)});
  EXPECT_THAT(pass(6, {computing(3), std::nullopt, computing(3)}), IsEmpty());
  const auto findings = pass(3, {computing(3), std::nullopt, computing(3)});
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_TRUE(findings[0].ends_job);
  EXPECT_THAT(findings[0].text, AllOf(HasSubstr("rank 1 @ a is lost"), HasSubstr("phase backward")));
}

TEST_F(WatchdogTest, WhoWasStoppedItselfMissesNobody) {
  pass(1, {computing(3), computing(3), computing(3)});
  now_ += std::chrono::seconds{100};
  EXPECT_THAT(watchdog_->look(now_), IsEmpty());
  EXPECT_THAT(pass(5, {computing(3), std::nullopt, computing(3)}), IsEmpty());
  EXPECT_EQ(pass(5, {computing(3), std::nullopt, computing(3)}).size(), 1U);
}

TEST_F(WatchdogTest, ARankThatOthersWaitForIsReportedThenEndsTheJob) {
  restart({.timeout = std::chrono::seconds{30}});
  const std::vector<std::optional<Pulse>> waiting{in_collective(4), computing(3, "data"), in_collective(4)};
  EXPECT_THAT(pass(9, waiting), IsEmpty());
  const auto reports = pass(2, waiting);
  ASSERT_EQ(reports.size(), 1U);
  EXPECT_FALSE(reports[0].ends_job);
  EXPECT_THAT(reports[0].text,
              AllOf(HasSubstr("rank 1 @ a is waited for: it is in phase data"), HasSubstr("2 of 3 ranks"),
                    HasSubstr("all_reduce(sum, 4 x float32), collective 4"), HasSubstr("the limit (ddp_timeout) is 30 s")));
  EXPECT_THAT(pass(18, waiting), IsEmpty()) << "reported once";
  const auto end = pass(2, waiting);
  ASSERT_EQ(end.size(), 1U);
  EXPECT_TRUE(end[0].ends_job);
  EXPECT_EQ(end[0].code, ExitCode::Stopped);
  EXPECT_THAT(end[0].text, AllOf(HasSubstr("rank 1 @ a"), HasSubstr("the limit of 30 s")));
}

TEST_F(WatchdogTest, AShortLimitIsNotWaitedForLonger) {
  restart({.timeout = std::chrono::seconds{4}});
  const std::vector<std::optional<Pulse>> waiting{in_collective(4), computing(3, "data"), in_collective(4)};
  EXPECT_THAT(pass(3, waiting), IsEmpty());
  const auto end = pass(2, waiting);
  ASSERT_EQ(end.size(), 1U);
  EXPECT_TRUE(end[0].ends_job);
}

TEST_F(WatchdogTest, TheLimitFollowsWhatThePhaseTook) {
  const std::vector<std::optional<Pulse>> slow{in_collective(4), computing(3, "backward", 20.0), in_collective(4)};
  const auto findings = pass(99, slow);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(findings[0].text, HasSubstr("the limit (ddp_timeout) is 100 s"));
  EXPECT_EQ(pass(2, slow).size(), 1U);
  restart({});
  const auto quick = pass(70, {in_collective(4), computing(3, "data", 0.01), in_collective(4)});
  ASSERT_EQ(quick.size(), 2U);
  EXPECT_THAT(quick[1].text, HasSubstr("the limit of 60 s")) << "never shorter";
  restart({});
  const auto saving = pass(1700, {in_collective(4), computing(3, "checkpoint"), in_collective(4)});
  ASSERT_EQ(saving.size(), 1U);
  EXPECT_THAT(saving[0].text, HasSubstr("the limit (ddp_timeout) is 1800 s")) << "who knows how long that takes";
}

TEST_F(WatchdogTest, ARankThatIsBehindByManyShortPhasesIsGivenTime) {
  auto behind = computing(3, "backward", 5.0);
  std::vector<Finding> findings;
  const auto pass_phases = [&](int count) {
    for (int i = 0; i < count; ++i) {
      ++behind.num_phases;
      for (auto& finding : pass(5, {in_collective(4), behind, in_collective(4)})) {
        findings.push_back(std::move(finding));
      }
    }
  };
  pass_phases(40);
  ASSERT_EQ(findings.size(), 1U) << findings[1].text;
  EXPECT_FALSE(findings[0].ends_job) << "it goes on, slowly";
  EXPECT_THAT(findings[0].text, HasSubstr("the limit (ddp_timeout) is 60 s"));
  EXPECT_EQ(pass(61, {in_collective(4), behind, in_collective(4)}).size(), 1U) << "now it hangs";
  restart({});
  findings.clear();
  pass_phases(1800 / 5 + 1);
  ASSERT_EQ(findings.size(), 2U) << "but not for ever";
  EXPECT_THAT(findings[1].text, HasSubstr("the limit of 1800 s"));
}

TEST_F(WatchdogTest, ARankThatOthersWaitForAtTheEndIsReportedThenEndsTheJob) {
  restart({.timeout = std::chrono::seconds{30}});
  const Pulse leaving{.phase = "leaving", .step = 7, .sequence = 4, .is_leaving = true, .recent = {kSum}};
  const std::vector<std::optional<Pulse>> waiting{computing(4, "export"), leaving, leaving};
  const auto reports = pass(11, waiting);
  ASSERT_EQ(reports.size(), 1U);
  EXPECT_THAT(reports[0].text, AllOf(HasSubstr("rank 0 @ a is waited for: it is in phase export"),
                                     HasSubstr("2 of 3 ranks wait at the end")));
  const auto end = pass(20, waiting);
  ASSERT_EQ(end.size(), 1U);
  EXPECT_TRUE(end[0].ends_job);
  EXPECT_EQ(end[0].rank, 0);
  restart({.timeout = std::chrono::seconds{30}});
  const auto stuck = pass(11, {in_collective(5), leaving, leaving});
  ASSERT_EQ(stuck.size(), 1U) << "it waits itself, for ranks that make no more calls";
  EXPECT_THAT(stuck[0].text, HasSubstr("rank 0 @ a is waited for"));
  restart({.timeout = std::chrono::seconds{30}});
  EXPECT_THAT(pass(60, {leaving, leaving, leaving}), IsEmpty()) << "they all have met";
}

TEST_F(WatchdogTest, ACollectiveThatNothingComesThroughIsReported) {
  const auto findings = pass(11, {in_collective(4), in_collective(4), in_collective(4)});
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(findings[0].text, HasSubstr("all ranks are in all_reduce(sum, 4 x float32), collective 4"));
}

TEST_F(WatchdogTest, EachWaitIsMeasuredByItself) {
  for (std::int64_t sequence = 4; sequence < 10; ++sequence) {
    EXPECT_THAT(pass(6, {in_collective(sequence), computing(sequence - 1), in_collective(sequence)}), IsEmpty());
  }
}

TEST_F(WatchdogTest, RanksOutOfStepAreNamedAtOnce) {
  for (const auto& other : {barrier_call(), all_reduce_call(5, DType::Float32, ReduceOp::Sum),
                            all_reduce_call(4, DType::Float64, ReduceOp::Sum),
                            all_reduce_call(4, DType::Float32, ReduceOp::Max)}) {
    restart({});
    const auto findings = pass(0.25, {in_collective(4), in_collective(4), in_collective(4, other)});
    ASSERT_EQ(findings.size(), 1U) << describe(other);
    EXPECT_TRUE(findings[0].ends_job);
    EXPECT_EQ(findings[0].code, ExitCode::Internal);
    EXPECT_THAT(findings[0].text, AllOf(HasSubstr("rank 0 @ a makes all_reduce(sum, 4 x float32) as collective 4"),
                                        HasSubstr("rank 2 @ b makes " + describe(other))));
  }
}

TEST_F(WatchdogTest, ADifferenceInThePastIsFoundToo) {
  Pulse far = in_collective(40);
  far.recent.assign(30, kSum);
  Pulse odd = computing(38);
  odd.recent.assign(20, kSum);
  odd.recent[9] = barrier_call();  // collective 28
  const auto findings = pass(0.25, {far, far, odd});
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_THAT(findings[0].text, HasSubstr("as collective 28 and rank 2 @ b makes barrier()"));
}

}  // namespace
}  // namespace hone::distributed

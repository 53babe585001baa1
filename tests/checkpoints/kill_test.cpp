// SIGKILL of the shipping writer at each of its calls to the file system, and in between: whatever save()
// answered for is found, and nothing bad is.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <set>

#include "checkpoint_fixture.hpp"
#include "hone/checkpoints/inspect.hpp"
#include "victim.hpp"

namespace hone::testing {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Matcher;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

constexpr int kNumKillsFromOutside = 100;
/// None, older ones that make room, and some that are saved again.
const std::vector<std::vector<std::int64_t>> kThere{{}, {1, 2}, {kFirstStep, kFirstStep + 1}};

class KillTest : public CheckpointTest {
 protected:
  /// Of checkpoints that were there before: other bytes than a victim's of the same step.
  static unsigned old_salt(std::int64_t step) { return static_cast<unsigned>(step + 1000); }

  /// Nothing that was answered for before or in this life is lost, nothing bad is found, and the run
  /// goes on: its next save clears up.
  void expect_sound(std::int64_t durable, std::int64_t next_step, std::int64_t saved) {
    const auto found = newest(kRanks);
    ASSERT_EQ(found.has_value() || durable < 0, true) << "step " << durable << " is lost";
    std::int64_t step = -1;
    if (found) {
      step = checkpoints::inspect_checkpoint(*found).step;
      // Of what save() answered for, the new one; of what it was about to replace, either.
      const bool is_new = holds(*found, static_cast<unsigned>(step));
      EXPECT_TRUE(is_new || (step > saved && holds(*found, old_salt(step)))) << step;
      EXPECT_THAT(logger_.warnings(), Each(HasSubstr("of a branch that the run has left")));
    }
    EXPECT_GE(step, durable);
    save(next_step, static_cast<unsigned>(next_step), kRanks, 2);
    EXPECT_EQ(newest(kRanks), checkpoint(next_step));
    // A save of an earlier step than the newest begins a branch, which a later start may leave.
    const auto again = ".aside-checkpoint-" + std::to_string(kFirstStep);
    EXPECT_THAT(leftovers(), saves_again_ ? Matcher<Names>(Each(StartsWith(again))) : Matcher<Names>(IsEmpty()));
    EXPECT_TRUE(saves_again_ || logger_.warnings().empty());
  }

  /// Dies at every call of saves of kFirstStep and on, in a run directory that has these
  /// checkpoints; the number of calls.
  int sweep(const std::string& end, const std::vector<std::int64_t>& there) {
    for (long call = 0;; ++call) {
      fs::remove_all(run_);
      for (const auto step : there) save(step, old_salt(step), kRanks);
      saves_again_ = !there.empty() && there.front() == kFirstStep;
      logger_.clear();
      const auto life = live(run_, kFirstStep, {.call = call, .end = end});
      if (!life.was_killed()) {
        EXPECT_TRUE(life.exited_with(0)) << life.status;
        EXPECT_EQ(life.saved, kFirstStep + kNumSaves - 1);
        return static_cast<int>(call);
      }
      kinds_.insert(life.at);
      SCOPED_TRACE("killed " + end + " call " + std::to_string(call) + ", " + life.at);
      expect_sound(std::max(life.saved, there.empty() ? -1 : there.back()), 50, life.saved);
      if (HasFailure()) return static_cast<int>(call);
    }
  }

  using Names = std::vector<std::string>;
  std::set<std::string> kinds_;
  bool saves_again_ = false;
};

TEST_F(KillTest, NothingThatSaveAnsweredForIsLost) {
  int num_kills = 0;
  for (const std::string end : {"before", "during"}) {
    for (const auto& there : kThere) {
      const int num_calls = sweep(end, there);
      std::printf("%s each of %d calls, %zu checkpoints there\n", end.c_str(), num_calls,
                  there.size());
      EXPECT_GT(num_calls, 100);
      num_kills += num_calls;
    }
  }
  EXPECT_THAT(kinds_, UnorderedElementsAre("open", "close", "pwrite", "pread", "allocate", "size",
                                           "fsync", "rename", "make_directory", "unlink",
                                           "remove_directory", "list"));
  std::printf("%d distinct calls were hit\n", num_kills);
  EXPECT_GE(num_kills, 1000);
  // From outside, at any moment, in one directory: what a life leaves is the next one's.
  fs::remove_all(run_);
  saves_again_ = false;
  logger_.clear();
  std::int64_t step = kFirstStep, durable = -1;
  std::uint64_t state = 42;
  for (int num_outside = 0; num_outside < kNumKillsFromOutside;) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    const std::chrono::microseconds moment{1000 + static_cast<long>((state >> 33) % 40000)};
    const auto life = live(run_, step, {.after = moment});
    EXPECT_TRUE(life.was_killed() || life.exited_with(0)) << life.status;
    num_outside += life.was_killed() ? 1 : 0;
    durable = std::max(durable, life.saved);
    SCOPED_TRACE("killed after " + std::to_string(moment.count()) + " us");
    expect_sound(durable, step + kNumSaves, durable);
    durable = step + kNumSaves;
    step += kNumSaves + 1;
    ASSERT_FALSE(HasFailure());
  }
}

}  // namespace
}  // namespace hone::testing

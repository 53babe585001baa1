#include "hone/launcher/loop/keep.hpp"

#include <cmath>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hone/core/error.hpp"
#include "hone/distributed/thread_world.hpp"

namespace hone::launcher {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using distributed::ThreadWorld;
using enum KeepOutcome;

struct Sample {
  std::int64_t prompt_index;
  std::int64_t k;
  double reward;
  std::string prompt;
  std::string completion;
};

std::vector<KeepCandidate> candidates_of(const std::vector<Sample>& samples) {
  std::vector<KeepCandidate> candidates;
  for (const auto& each : samples) {
    candidates.push_back({each.prompt_index, each.k, each.reward, each.prompt, each.completion});
  }
  return candidates;
}

KeepDecision decide(const KeepOptions& options, const std::vector<Sample>& samples,
                    const std::optional<KeyedRandom>& shuffle = std::nullopt) {
  KeepDecision decision;
  ThreadWorld{1}.run([&](Communicator& comm) {
    decision = decide_kept(comm, options, candidates_of(samples), shuffle);
  });
  return decision;
}

/// A round of `num_prompts` prompts with 4 samples each: many ties, duplicates within a prompt, and
/// the same prompt at two positions.
std::vector<Sample> a_round(std::int64_t num_prompts, std::uint64_t seed) {
  const KeyedRandom random{seed};
  std::vector<Sample> samples;
  for (std::int64_t prompt = 0; prompt < num_prompts; ++prompt) {
    for (std::int64_t k = 0; k < 4; ++k) {
      const auto draw = static_cast<std::uint64_t>(prompt * 4 + k);
      samples.push_back({prompt, k, std::floor(random.uniform(2 * draw) * 4) / 4,
                         "prompt " + std::to_string(prompt % (num_prompts - 1)),
                         "answer " + std::to_string(random.bits(2 * draw + 1) % 3)});
    }
  }
  return samples;
}

using Outcomes = std::map<std::pair<std::int64_t, std::int64_t>, KeepOutcome>;

/// What becomes of every sample when `size` ranks hold them, the samples of one prompt on several
/// ranks and each rank's in reverse order.
Outcomes outcomes_at(int size, int turn, const KeepOptions& options,
                     const std::vector<Sample>& samples, const std::optional<KeyedRandom>& shuffle,
                     KeepCounts& counts) {
  Outcomes outcomes;
  std::mutex mutex;
  ThreadWorld{size}.run([&](Communicator& comm) {
    std::vector<Sample> mine;
    for (const auto& each : samples) {
      if ((3 * each.prompt_index + each.k + turn) % size == comm.rank())
        mine.insert(mine.begin(), each);
    }
    const auto decision = decide_kept(comm, options, candidates_of(mine), shuffle);
    const std::lock_guard lock{mutex};
    if (comm.rank() == 0) counts = decision.counts;
    for (std::size_t i = 0; i < mine.size(); ++i) {
      outcomes[{mine[i].prompt_index, mine[i].k}] = decision.outcomes[i];
    }
  });
  return outcomes;
}

TEST(Keep, KeepsEverythingWithoutARule) {
  const std::vector<Sample> samples{{0, 0, -1, "p", "a"}, {0, 1, 5, "p", "a"}};
  EXPECT_THAT(decide({}, samples).outcomes, ElementsAre(Kept, Kept));
  EXPECT_THAT(decide({.all = true}, samples).outcomes, ElementsAre(Kept, Kept));
  EXPECT_EQ(decide({.all = true}, samples).counts, (KeepCounts{.generated = 2, .kept = 2}));
}

TEST(Keep, TheThresholdItselfIsKept) {
  EXPECT_THAT(decide({.threshold = 0.5}, {{0, 0, 0.5, "p", "a"}, {0, 1, 0.49, "p", "b"}}).outcomes,
              ElementsAre(Kept, BelowThreshold));
}

TEST(Keep, OfEqualTextsTheLowestKStays) {
  const KeepOptions options{.dedup = DedupRule::Exact};
  EXPECT_THAT(
      decide(options, {{0, 2, 1, "p", "a"}, {0, 0, 1, "p", "a"}, {0, 1, 1, "p", "a "}}).outcomes,
      ElementsAre(Duplicate, Kept, Kept));
}

TEST(Keep, ADuplicateNeedsTheSamePrompt) {
  const KeepOptions options{.dedup = DedupRule::Exact};
  EXPECT_THAT(
      decide(options, {{0, 0, 1, "p", "a"}, {1, 0, 1, "q", "a"}, {2, 0, 1, "p", "a"}}).outcomes,
      ElementsAre(Kept, Kept, Duplicate));
  // The border between prompt and completion counts.
  EXPECT_THAT(decide(options, {{0, 0, 1, "ab", "c"}, {1, 0, 1, "a", "bc"}}).outcomes,
              ElementsAre(Kept, Kept));
}

TEST(Keep, RulesApplyInTheirOrder) {
  // k 0 is below the threshold, so its duplicate k 1 is the first that counts; best of 2 then
  // chooses among the different texts that are left.
  const KeepOptions options{.threshold = 1, .best_of = 2, .dedup = DedupRule::Exact};
  const auto decision = decide(options, {{0, 0, 0, "p", "a"},
                                         {0, 1, 1, "p", "a"},
                                         {0, 2, 9, "p", "a"},
                                         {0, 3, 2, "p", "b"},
                                         {0, 4, 3, "p", "c"}});
  EXPECT_THAT(decision.outcomes, ElementsAre(BelowThreshold, NotBest, Duplicate, Kept, Kept));
  EXPECT_EQ(decision.counts, (KeepCounts{5, 1, 1, 1, 2}));
}

TEST(Keep, BestOfBreaksTiesByLowerK) {
  EXPECT_THAT(
      decide({.best_of = 1}, {{0, 1, 1, "p", "b"}, {0, 0, 1, "p", "a"}, {1, 0, -3, "q", "c"}})
          .outcomes,
      ElementsAre(NotBest, Kept, Kept));
}

TEST(Keep, TheSameSetIsKeptAtEveryRankCountAndPlacement) {
  const std::vector<KeepOptions> rules{
      {},
      {.threshold = 0.5},
      {.dedup = DedupRule::Exact},
      {.best_of = 2},
      {.threshold = 0.25, .best_of = 1, .dedup = DedupRule::Exact}};
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    const auto samples = a_round(9, seed);
    for (const auto& options : rules) {
      for (const auto& shuffle :
           {std::optional<KeyedRandom>{}, std::optional{KeyedRandom{seed, 9}}}) {
        KeepCounts expected_counts;
        const auto expected = outcomes_at(1, 0, options, samples, shuffle, expected_counts);
        ASSERT_EQ(expected.size(), samples.size());
        for (const int size : {2, 3, 4}) {
          for (int turn = 0; turn < size; ++turn) {
            KeepCounts counts;
            EXPECT_EQ(outcomes_at(size, turn, options, samples, shuffle, counts), expected);
            EXPECT_EQ(counts, expected_counts);
          }
        }
      }
    }
  }
}

TEST(Keep, RanksWithoutCompletionsTakePart) {
  ThreadWorld{4}.run([](Communicator& comm) {
    std::vector<Sample> mine;
    if (comm.rank() == 2) mine = {{0, 0, 1, "p", "a"}, {0, 1, 1, "p", "a"}};
    const auto decision = decide_kept(comm, {.dedup = DedupRule::Exact}, candidates_of(mine));
    EXPECT_EQ(decision.counts, (KeepCounts{.generated = 2, .duplicate = 1, .kept = 1}));
    EXPECT_EQ(decision.outcomes.size(), mine.size());
  });
  EXPECT_EQ(decide({.threshold = 1.0}, {}).counts, KeepCounts{});
}

TEST(Keep, ShufflingDealsTheSameRewardsAnew) {
  const auto samples = a_round(20, 5);
  const auto decision = decide({.threshold = 0.75}, samples, KeyedRandom{1, 2});
  std::multiset<double> given;
  std::multiset<double> used{decision.rewards.begin(), decision.rewards.end()};
  std::size_t moved = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    given.insert(samples[i].reward);
    if (samples[i].reward != decision.rewards[i]) ++moved;
    EXPECT_EQ(decision.outcomes[i] == Kept, decision.rewards[i] >= 0.75);
  }
  EXPECT_EQ(used, given);
  EXPECT_GT(moved, samples.size() / 3);
  EXPECT_EQ(decision.counts, decide({.threshold = 0.75}, samples).counts);
  EXPECT_EQ(decide({}, samples).rewards[3], samples[3].reward);
}

/// The message that every rank of three sees, or how they differ.
template <typename Body>
std::string message_everywhere(Body&& body) {
  std::set<std::string> messages;
  std::mutex mutex;
  ThreadWorld{3}.run([&](Communicator& comm) {
    std::string message = "no error";
    try {
      body(comm);
    } catch (const Error& error) {
      message = error.what();
    }
    const std::lock_guard lock{mutex};
    messages.insert(message);
  });
  return messages.size() == 1 ? *messages.begin() : "the ranks disagree";
}

TEST(Keep, ABadRewardIsEverybodysError) {
  EXPECT_THAT(message_everywhere([](Communicator& comm) {
                std::vector<Sample> mine{{comm.rank(), 0, comm.rank() == 1 ? NAN : 1.0, "p", "a"}};
                decide_kept(comm, {}, candidates_of(mine));
              }),
              HasSubstr("the reward of prompt 1 of the round, k 0 is nan"));
}

TEST(Keep, OneCompletionMadeTwiceIsABug) {
  EXPECT_THAT(message_everywhere([](Communicator& comm) {
                std::vector<Sample> mine{{comm.rank() / 2, 0, 1.0, "p", "a"}};
                decide_kept(comm, {}, candidates_of(mine));
              }),
              HasSubstr("prompt 0 of the round, k 0 was completed twice, by ranks"));
}

TEST(Keep, RulesThatMakeNoSenseAreRefused) {
  EXPECT_THROW(require_valid({.all = true, .threshold = 1.0}), ConfigError);
  EXPECT_THROW(require_valid({.all = true, .dedup = DedupRule::Exact}), ConfigError);
  EXPECT_THROW(require_valid({.best_of = 0}), ConfigError);
  EXPECT_THROW(require_valid({.threshold = NAN}), ConfigError);
  EXPECT_NO_THROW(require_valid({.threshold = -1.0, .best_of = 1, .dedup = DedupRule::Exact}));
}

}  // namespace
}  // namespace hone::launcher

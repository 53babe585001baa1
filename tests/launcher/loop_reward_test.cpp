#include "hone/launcher/loop/reward.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hone/core/error.hpp"
#include "hone/launcher/loop/number_text.hpp"

namespace hone::launcher {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

PromptRow row_of(const std::string& json) { return {std::string{"p"}, json, "prompts.jsonl:3"}; }

double score(const RewardOptions& options, const std::string& json, const std::string& completion) {
  const PromptRow row = row_of(json);
  const auto reward = make_reward(options);
  reward->check_prompts({&row, 1});
  const std::vector<Completion> one{{.prompt = "p", .completion = completion, .row = &row}};
  return reward->score(one).at(0);
}

template <typename Function>
std::string message_of(Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

/// As decimal text, for tables of expectations.
std::string text_of(const Decimal& number) {
  if (number.digits.empty()) return "0";
  return (number.negative ? "-0." : "0.") + number.digits + "e" + std::to_string(number.exponent);
}

std::vector<std::string> numbers_in(std::string_view text) {
  std::vector<std::string> all;
  for (const auto& number : find_numbers(text)) all.push_back(text_of(number));
  return all;
}

TEST(Numbers, AreReadAsDecimals) {
  EXPECT_THAT(numbers_in("42"), ElementsAre("0.42e2"));
  EXPECT_THAT(numbers_in("007"), ElementsAre("0.7e1"));
  EXPECT_THAT(numbers_in("1,234,567.50"), ElementsAre("0.12345675e7"));
  EXPECT_THAT(numbers_in("0.05 and .5"), ElementsAre("0.5e-1", "0.5e0"));
  EXPECT_THAT(numbers_in("-0 0.00 +0"), ElementsAre("0", "0", "0"));
  EXPECT_THAT(numbers_in("1e3 2.5E-2 1e+2"), ElementsAre("0.1e4", "0.25e-1", "0.1e3"));
}

TEST(Numbers, SignsCountOnlyWhereTheyAreSigns) {
  EXPECT_THAT(numbers_in("-5 x=-5 (-5) \xE2\x88\x92"
                         "5 +5"),
              ElementsAre("-0.5e1", "-0.5e1", "-0.5e1", "-0.5e1", "0.5e1"));
  EXPECT_THAT(numbers_in("12-5"), ElementsAre("0.12e2", "0.5e1"));
  EXPECT_THAT(numbers_in("3 - 5"), ElementsAre("0.3e1", "0.5e1"));
  EXPECT_THAT(numbers_in("(2)-5 a-5"), ElementsAre("0.2e1", "0.5e1", "0.5e1"));
}

TEST(Numbers, EndWhereTheyEnd) {
  EXPECT_THAT(numbers_in("It is 5."), ElementsAre("0.5e1"));
  EXPECT_THAT(numbers_in("1,2,3"), ElementsAre("0.1e1", "0.2e1", "0.3e1"));
  EXPECT_THAT(numbers_in("1234,567"), ElementsAre("0.1234e4", "0.567e3"));
  EXPECT_THAT(numbers_in("1,2345"), ElementsAre("0.1e1", "0.2345e4"));
  EXPECT_THAT(numbers_in("3.14.15"), ElementsAre("0.314e1", "0.15e2"));
  EXPECT_THAT(numbers_in("$1,000 50% x2 3em 4e5x"),
              ElementsAre("0.1e4", "0.5e2", "0.2e1", "0.3e1", "0.4e1", "0.5e1"));
  EXPECT_THAT(numbers_in("none . - , e5e"), ElementsAre("0.5e1"));
  EXPECT_THAT(numbers_in(""), IsEmpty());
}

TEST(NumberReward, ComparesTheLastNumberWithTheField) {
  const RewardOptions options{.check = "number", .field = "answer"};
  EXPECT_EQ(score(options, R"({"answer": 7})", "3 + 4 = 7"), 1);
  EXPECT_EQ(score(options, R"({"answer": 7})", "7, because 3 + 4"), 0);
  EXPECT_EQ(score(options, R"({"answer": 7})", "7.00."), 1);
  EXPECT_EQ(score(options, R"({"answer": 1000})", "1,000"), 1);
  EXPECT_EQ(score(options, R"({"answer": -0.5})", "x is -.50"), 1);
  EXPECT_EQ(score(options, R"({"answer": 1e-05})", "0.00001"), 1);
  EXPECT_EQ(score(options, R"({"answer": "#### 72"})", "72"), 1);
  EXPECT_EQ(score(options, R"({"answer": 7})", "no number"), 0);
  EXPECT_EQ(score(options, R"({"answer": 7})", ""), 0);
}

TEST(NumberReward, IsExactBeyondDoubles) {
  const RewardOptions options{.check = "number", .field = "answer"};
  EXPECT_EQ(score(options, R"({"answer": 9007199254740993})", "9007199254740993"), 1);
  EXPECT_EQ(score(options, R"({"answer": 9007199254740993})", "9007199254740992"), 0);
}

TEST(NumberReward, CanTakeTheFirst) {
  const RewardOptions options{.check = "number", .field = "answer", .take = "first"};
  EXPECT_EQ(score(options, R"({"answer": 7})", "7, because 3 + 4"), 1);
}

TEST(ExactReward, IgnoresSpaceAtTheEndsOnly) {
  const RewardOptions options{.check = "exact", .field = "answer"};
  EXPECT_EQ(score(options, R"({"answer": "yes"})", " yes\n"), 1);
  EXPECT_EQ(score(options, R"({"answer": " yes "})", "yes"), 1);
  EXPECT_EQ(score(options, R"({"answer": "yes"})", "Yes"), 0);
  EXPECT_EQ(score(options, R"({"answer": "y es"})", "yes"), 0);
  EXPECT_EQ(score(options, R"({"answer": 12})", "12"), 1);
  EXPECT_EQ(score(options, R"({"answer": ["a", "b"]})", "b"), 1);
  EXPECT_EQ(score(options, R"({"answer": true})", "true"), 1);
}

TEST(RegexReward, SearchesOrMatchesInFull) {
  EXPECT_EQ(score({.check = "regex", .pattern = "[0-9]+ apples"}, "{}", "I have 12 apples."), 1);
  EXPECT_EQ(score({.check = "regex", .pattern = "^[0-9]+$"}, "{}", "I have 12"), 0);
  EXPECT_EQ(score({.check = "regex", .pattern = "[0-9]+", .match = "full"}, "{}", " 12\n"), 1);
  EXPECT_EQ(score({.check = "regex", .pattern = "[0-9]+", .match = "full"}, "{}", "12 apples"), 0);
}

TEST(RegexReward, TakesEachRowsOwnPattern) {
  const RewardOptions options{.check = "regex", .field = "want"};
  EXPECT_EQ(score(options, R"({"want": "^a+$"})", "aaa"), 1);
  EXPECT_EQ(score(options, R"({"want": "^b+$"})", "aaa"), 0);
  EXPECT_THAT(message_of([&] { score(options, R"({"want": "("})", "a"); }),
              HasSubstr("prompts.jsonl:3: field \"want\": the pattern \"(\" is not valid"));
}

TEST(RegexReward, ACatastrophicPatternCostsNothing) {
  EXPECT_EQ(score({.check = "regex", .pattern = "^(a+)+$"}, "{}", std::string(100'000, 'a') + "b"),
            0);
}

TEST(Rewards, AMissingFieldIsFoundBeforeTheFirstRound) {
  for (const char* check : {"exact", "number", "regex"}) {
    const RewardOptions options{.check = check, .field = "answer"};
    EXPECT_THAT(message_of([&] { score(options, R"({"prompt": "p", "label": 1})", "x"); }),
                HasSubstr("prompts.jsonl:3: the reward needs the field \"answer\", found keys "
                          "{label, prompt}"));
  }
  EXPECT_THAT(
      message_of([&] { score({.check = "number", .field = "a"}, R"({"a": "none"})", "1"); }),
      HasSubstr("must hold one number, found \"none\""));
  EXPECT_THAT(message_of([&] { score({.check = "exact", .field = "a"}, R"({"a": {}})", "1"); }),
              HasSubstr("must be a string, a number"));
}

TEST(Rewards, OptionsThatDoNotFitTogetherAreRefused) {
  const auto refusal = [](const RewardOptions& options) -> std::string {
    try {
      make_reward(options);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(refusal({}), HasSubstr("set reward.check (exact, regex or number) or"));
  EXPECT_EQ(refusal({.check = "exact", .command = {"python3", "score.py"}}),
            "reward.check is exact and reward.command is python3 score.py: only one of them can "
            "score. Clear one: --reward.check= or --reward.command=");
  EXPECT_THAT(refusal({.check = "exact"}), HasSubstr("needs reward.field"));
  EXPECT_THAT(refusal({.check = "numbers", .field = "a"}), HasSubstr("got \"numbers\""));
  EXPECT_THAT(refusal({.check = "regex"}), HasSubstr("either reward.pattern or reward.field"));
  EXPECT_THAT(refusal({.check = "regex", .pattern = "(?=a)"}), HasSubstr("no look-ahead"));
  EXPECT_THAT(refusal({.check = "exact", .field = "a", .pattern = "x"}), HasSubstr("check: regex"));
  EXPECT_THAT(refusal({.check = "regex", .pattern = "x", .match = "part"}),
              HasSubstr("reward.match"));
  EXPECT_THAT(refusal({.check = "number", .field = "a", .take = "any"}), HasSubstr("reward.take"));
  EXPECT_THAT(refusal({.command = {"no-such-program-7"}}),
              HasSubstr("no program \"no-such-program-7\""));
  EXPECT_THAT(refusal({.command = {"./absent.sh"}}), HasSubstr("no such program"));
  EXPECT_THAT(refusal({.command = {"/etc/passwd"}}), HasSubstr("not an executable file"));
  EXPECT_THAT(refusal({.command = {"true"}, .timeout = std::chrono::milliseconds{0}}),
              HasSubstr("reward.timeout"));
}

TEST(Rewards, ACommandNeedsNothingOfACheckCleared) {
  EXPECT_NO_THROW(make_reward({.field = "a", .pattern = "x", .command = {"true"}}));
}

}  // namespace
}  // namespace hone::launcher

#include "check_rewards.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"
#include "hone/launcher/loop/number_text.hpp"
#include "row_field.hpp"

namespace hone::launcher {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

/// A check that says yes (1) or no (0) to one completion at a time.
class CheckReward : public Reward {
 public:
  std::vector<double> score(std::span<const Completion> completions) final {
    std::vector<double> rewards;
    rewards.reserve(completions.size());
    for (const auto& each : completions) rewards.push_back(passes(each) ? 1.0 : 0.0);
    return rewards;
  }

 private:
  virtual bool passes(const Completion& completion) const = 0;
};

class ExactReward final : public CheckReward {
 public:
  explicit ExactReward(std::string field) : field_(std::move(field)) {}

  void check_prompts(std::span<const PromptRow> prompts) const override {
    for (const auto& row : prompts) field_texts(row, field_);
  }

 private:
  bool passes(const Completion& each) const override {
    const auto answers = field_texts(*each.row, field_);
    return std::any_of(answers.begin(), answers.end(), [&](const std::string& answer) {
      return trimmed(answer) == trimmed(each.completion);
    });
  }

  std::string field_;
};

class NumberReward final : public CheckReward {
 public:
  NumberReward(std::string field, bool take_last)
      : field_(std::move(field)), take_last_(take_last) {}

  void check_prompts(std::span<const PromptRow> prompts) const override {
    for (const auto& row : prompts) expected(row);
  }

 private:
  std::optional<Decimal> number_in(std::string_view text) const {
    return take_last_ ? last_number(text) : first_number(text);
  }

  Decimal expected(const PromptRow& row) const {
    const auto texts = field_texts(row, field_);
    const auto number = texts.size() == 1 ? number_in(texts.front()) : std::nullopt;
    if (number) return *number;
    throw InputError(row.where + ": the reward's field \"" + printable(field_, 60) +
                     "\" must hold one number, found \"" + printable(texts.front(), 60) + "\"");
  }

  bool passes(const Completion& each) const override {
    const auto number = number_in(each.completion);
    return number && *number == expected(*each.row);
  }

  std::string field_;
  bool take_last_;
};

/// RE2 matches in time linear in the text, whatever the pattern: model output and a careless
/// pattern cannot stall a rank, as they can with a backtracking engine.
class Pattern {
 public:
  explicit Pattern(const std::string& text) : regex_(text, RE2::Quiet) {}

  const RE2& regex() const { return regex_; }
  bool is_valid() const { return regex_.ok(); }
  std::string complaint() const {
    return "the pattern \"" + printable(regex_.pattern(), 100) +
           "\" is not valid: " + printable(regex_.error()) +
           " (RE2 syntax: no look-ahead, no back-references)";
  }

 private:
  RE2 regex_;
};

class RegexReward final : public CheckReward {
 public:
  RegexReward(const std::string& pattern, std::string field, bool full)
      : field_(std::move(field)), full_(full) {
    if (!field_.empty()) return;
    pattern_ = std::make_unique<Pattern>(pattern);
    if (!pattern_->is_valid()) throw ConfigError("reward.pattern: " + pattern_->complaint());
  }

  void check_prompts(std::span<const PromptRow> prompts) const override {
    if (pattern_) return;
    for (const auto& row : prompts) row_pattern(row);
  }

 private:
  std::unique_ptr<Pattern> row_pattern(const PromptRow& row) const {
    const auto texts = field_texts(row, field_);
    auto pattern = std::make_unique<Pattern>(texts.front());
    if (texts.size() == 1 && pattern->is_valid()) return pattern;
    throw InputError(row.where + ": field \"" + printable(field_, 60) +
                     "\": " + (texts.size() == 1 ? pattern->complaint() : "must hold one pattern"));
  }

  bool matches(const Pattern& pattern, std::string_view text) const {
    const re2::StringPiece piece{text.data(), text.size()};
    return full_ ? RE2::FullMatch(piece, pattern.regex())
                 : RE2::PartialMatch(piece, pattern.regex());
  }

  bool passes(const Completion& each) const override {
    const std::string_view text = full_ ? trimmed(each.completion) : each.completion;
    return pattern_ ? matches(*pattern_, text) : matches(*row_pattern(*each.row), text);
  }

  std::unique_ptr<Pattern> pattern_;  ///< none where each row has its own
  std::string field_;
  bool full_;
};

}  // namespace

std::unique_ptr<Reward> make_exact_reward(const RewardOptions& options) {
  return std::make_unique<ExactReward>(options.field);
}

std::unique_ptr<Reward> make_regex_reward(const RewardOptions& options) {
  return std::make_unique<RegexReward>(options.pattern, options.field, options.match == "full");
}

std::unique_ptr<Reward> make_number_reward(const RewardOptions& options) {
  return std::make_unique<NumberReward>(options.field, options.take == "last");
}

}  // namespace hone::launcher

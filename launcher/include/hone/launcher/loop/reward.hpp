#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hone/core/data/jsonl.hpp"
#include "hone/launcher/loop/completion.hpp"

namespace hone::launcher {

/// Judges completions. One object per rank.
/// Thread-safety: one thread at a time.
class Reward {
 public:
  virtual ~Reward() = default;

  /// Starts what scoring needs. To be called once, early: before MPI_Init, from the main thread.
  virtual void start() {}

  /// Looks at the prompts before the first round, so that a missing answer is found in a second
  /// and not after an hour. Throws: InputError that names file:line.
  virtual void check_prompts(std::span<const PromptRow> prompts) const { (void)prompts; }

  /// Looks whether what start() started is still there; what ends later, score() notices.
  /// Throws: InputError.
  virtual void require_ready() {}

  /// One finite number per completion, in order. Not collective: ranks score their own share.
  /// Throws: InputError.
  virtual std::vector<double> score(std::span<const Completion> completions) = 0;
};

/// What the configuration says about the reward: either `check` or `command` is set. With a
/// command, what belongs to a check is ignored: setting the one and clearing the other is all there
/// is to do.
struct RewardOptions {
  std::string check;    ///< "exact", "regex" or "number"
  std::string field;    ///< key of the prompt's row that holds the right answer (or the pattern)
  std::string pattern;  ///< regex only, instead of `field`
  std::string match = "search";      ///< regex: "search" anywhere, or the "full" trimmed completion
  std::string take = "last";         ///< number: the "last" or the "first" number of the completion
  std::vector<std::string> command;  ///< a program and its arguments; no shell is involved
  std::chrono::milliseconds timeout{30'000};  ///< command: for one rank's answers to one round
};

/// The reward that the options name. All built-in checks give 1 or 0.
///
/// - exact: the completion equals the field, white space at both ends aside. The field is a string,
///   a number or true/false (as JSON writes them), or a list of these, any of which will do.
/// - regex: the pattern (RE2 syntax: linear time, no look-ahead, no back-references) is found in
///   the completion. It comes from `pattern`, or row by row from `field`.
/// - number: the last (or first) number in the completion equals the field's, exactly and as
///   decimals. See find_numbers in number_text.hpp for what is read as a number. The field is a
///   number, or a string whose last (first) number counts. A completion without a number scores 0.
/// - command: see CommandReward.
///
/// Throws: ConfigError for options that do not fit together, a bad pattern, or a program that is
/// not found.
std::unique_ptr<Reward> make_reward(const RewardOptions& options);

}  // namespace hone::launcher

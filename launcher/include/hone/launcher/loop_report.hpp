#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/core/training/step_stats.hpp"
#include "hone/launcher/loop/keep.hpp"
#include "hone/launcher/loop/loop_memory.hpp"
#include "hone/launcher/loop/run_directory.hpp"
#include "hone/launcher/screen.hpp"

namespace hone::launcher {

/// Every rank's answers on every rank, by index. Collective.
std::vector<EvalAnswer> gather_answers(Communicator& comm, const std::vector<EvalAnswer>& mine);

/// Where the seconds of a round went, on the slowest rank.
struct RoundSeconds {
  double generate = 0.0;
  double score = 0.0;
  double train = 0.0;
  double eval = 0.0;
};

/// What one round came to, over all ranks.
struct RoundFigures {
  std::int64_t round = 0;  ///< from 1; 0 is the evaluation before the first
  KeepCounts counts;
  double reward = 0.0;             ///< mean over all completions
  double completion_tokens = 0.0;  ///< mean
  double clipped_ratio = 0.0;      ///< completions that ran into max_new_tokens
  StepStats train;
  std::optional<double> eval_reward;  ///< mean over the evaluation set, greedy
  RoundSeconds seconds;
};

/// Everything that a run shows and logs: metrics.jsonl, the progress line, the closing summary.
/// Rank 0 speaks, the others' calls do nothing. Its memory goes along with checkpoints as text.
class LoopReport {
 public:
  LoopReport(Screen& screen, RunDirectory& directory, std::int64_t num_rounds, bool is_check);

  /// `in_effect`: a line, or nothing, of options that change how the run computes.
  void show_start(const std::string& job, const std::string& model, std::size_t num_prompts,
                  std::size_t num_eval, const std::string& in_effect);
  void log_update(const UpdateStats& update, std::int64_t round);
  void log_round(const RoundFigures& figures);

  /// A round begins, whose samples' file has this digest: its updates are summed up anew.
  void begin_round(std::int64_t round, std::string samples_digest);
  /// Empty where the round did not begin here, nor in what was restored.
  std::string samples_digest(std::int64_t round) const;
  /// The newest round that log_round() was called for; -1 before the first.
  std::int64_t recorded_round() const { return memory_.recorded_round; }
  /// `latest` with what all updates of the round come to, those before an interruption included.
  StepStats whole_round(StepStats latest) const;

  /// Remembers the evaluation before training, and the newest.
  void note_eval(double reward, std::vector<EvalAnswer> answers);
  bool has_initial_eval() const { return memory_.initial_reward.has_value(); }

  /// The memory for Trainer::set_user_state(), and back. restore() throws: CheckpointError.
  std::string state() const;
  void restore(const std::string& state);

  /// `how_to_go_on`: the flags that resume the run and do more; empty where it has no checkpoint.
  void show_end(std::int64_t step, std::int64_t tokens, double seconds,
                const std::string& how_to_go_on);
  void show_stop(std::int64_t step);

 private:
  std::string example() const;

  Screen& screen_;
  RunDirectory& directory_;
  std::int64_t num_rounds_;
  std::string measure_;  ///< "accuracy" for checks, "reward" for programs
  LoopMemory memory_;
};

}  // namespace hone::launcher

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hone/core/data/jsonl.hpp"
#include "hone/launcher/loop/reward.hpp"
#include "hone/launcher/loop/run_directory.hpp"
#include "hone/launcher/loop_options.hpp"
#include "hone/launcher/loop_report.hpp"
#include "hone/launcher/training_job.hpp"

namespace hone::launcher {

/// The iterative run: every round samples completions of some prompts on the weights that are being
/// trained, scores them, keeps some by a rule over all ranks, and trains on these.
///
/// A round is one Trainer::step() call, so that the trainer's call count says where the run is; the
/// round's samples are on disk before the first update, so that it goes on in the middle of a
/// round. A checkpoint may also come between a round's last update and its record in metrics.jsonl:
/// then the resumed run begins with that record. Collective: all methods.
class IterativeLoop final : private TrainerCallback {
 public:
  /// `reward` was started. Reads the prompts; throws InputError on every rank alike.
  IterativeLoop(Session& session, const LoopOptions& options, Reward& reward,
                const std::filesystem::path& config, const std::string& resolved_yaml);

  /// Returns the exit code: Success, or Stopped where a stop request was obeyed.
  int run();

 private:
  /// A round's completions of this rank, as they are trained and recorded.
  struct Pool {
    std::vector<SampleRecord> records;
    RoundFigures figures;
  };

  void on_step_end(const TrainerState& state, const UpdateStats& update) override;
  Trainer& trainer() { return job_.trainer(); }
  std::int64_t rounds_done() { return trainer().state().call; }
  std::int64_t rounds_over();

  LoadedModel load(const std::filesystem::path& config);
  void start();
  void warn_of_plain_prompts();
  std::string how_to_go_on();
  void run_round();
  void require_progress(const RoundFigures& figures);
  void end_round(RoundFigures& figures);
  Pool make_pool(std::int64_t round);
  Pool reload_pool(std::int64_t round);
  void fill_means(Pool& pool);
  Pool judged(std::int64_t round, std::span<const hone::Completion> drafts,
              std::span<const std::int64_t> rows_of_round,
              std::span<const PromptTokens> prompts);
  Batch training_batch(const Pool& pool);
  void evaluate(RoundFigures& figures);
  std::vector<double> score(std::span<const Completion> completions);

  Session& session_;
  const LoopOptions& options_;
  Reward& reward_;
  std::vector<PromptRow> prompts_, eval_prompts_;
  RunDirectory directory_;
  TrainingJob job_;
  LoopReport report_;
  std::string resolved_yaml_;
};

}  // namespace hone::launcher

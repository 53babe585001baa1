#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hone/checkpoints/hdf5_checkpoint_store.hpp"
#include "hone/collators/causal_lm_collator.hpp"
#include "hone/core/training/trainer.hpp"
#include "hone/launcher/job_options.hpp"
#include "hone/launcher/loop/run_directory.hpp"
#include "hone/launcher/session.hpp"

namespace hone::launcher {

/// A model and its tokenizer from one folder, on all ranks.
struct LoadedModel {
  std::filesystem::path folder;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<LanguageModel> model;
};

/// Chooses the matrix library, then loads; all ranks succeed or throw the same error. Says on the
/// log what was loaded. Collective.
LoadedModel load_for_session(Session& session, const std::filesystem::path& folder,
                             const LoadOptions& options = {});

/// Everything that a command which trains puts together: the trainer and its parts.
/// Collective: construction, resume() and record_options().
class TrainingJob {
 public:
  /// Without a run directory in `store` there are no checkpoints.
  TrainingJob(Session& session, LoadedModel loaded, TrainerOptions options = {},
              checkpoints::StoreOptions store = {}, std::vector<EvalSet> eval_sets = {});

  /// Does what --resume_from_checkpoint asks for; true where the run goes on from a checkpoint.
  /// Throws: CheckpointError where there is none and `true` or a path was given.
  bool resume(const ResumeOptions& options);

  /// Writes config.yaml, after resume(): a refused one leaves the run's own. A resumed run first
  /// warns of every option that is not what it was.
  void record_options(RunDirectory& directory, const std::string& resolved_yaml, bool resumed);

  Trainer& trainer() { return *trainer_; }
  const Tokenizer& tokenizer() const { return *loaded_.tokenizer; }

 private:
  Session& session_;
  LoadedModel loaded_;
  std::unique_ptr<GradientReducer> reducer_;
  collators::PackingCollator collator_;
  std::optional<checkpoints::Hdf5CheckpointStore> store_;
  std::unique_ptr<Trainer> trainer_;
};

}  // namespace hone::launcher

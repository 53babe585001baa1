#pragma once

#include <filesystem>
#include <memory>
#include <utility>

#include "fakes/warning_log.hpp"
#include "hone/collators/causal_lm_collator.hpp"
#include "hone/core/training/trainer.hpp"
#include "hone/distributed/all_reduce_gradient_reducer.hpp"

namespace hone::testing {

/// One rank's trainer with everything around it, as few lines as a test needs.
class TrainerHarness {
 public:
  struct Extras {
    const Collator* collator = nullptr;        ///< null: packing
    CheckpointStore* checkpoints = nullptr;
    const Tokenizer* tokenizer = nullptr;
    StopSignal* stop_signal = nullptr;
    at::ScalarType dtype = at::kFloat;
    std::vector<EvalSet> eval_sets = {};
    EvalHooks eval_hooks = {};
  };

  TrainerHarness(const std::filesystem::path& model_folder, Communicator& comm,
                 TrainerOptions options, Extras extras)
      : model_(load_model(model_folder, {.dtype = extras.dtype})), reducer_(comm) {
    TrainerParts parts{.model = *model_,
                       .communicator = comm,
                       .reducer = reducer_,
                       .collator = extras.collator ? *extras.collator : packing_,
                       .log = log_,
                       .tokenizer = extras.tokenizer,
                       .checkpoints = extras.checkpoints,
                       .stop_signal = extras.stop_signal,
                       .optimizer = nullptr,
                       .model_folder = model_folder,
                       .eval_sets = std::move(extras.eval_sets),
                       .eval_hooks = std::move(extras.eval_hooks)};
    trainer_ = std::make_unique<Trainer>(std::move(parts), std::move(options));
  }
  TrainerHarness(const std::filesystem::path& model_folder, Communicator& comm,
                 TrainerOptions options)
      : TrainerHarness(model_folder, comm, std::move(options), Extras{}) {}

  Trainer* operator->() { return trainer_.get(); }
  LanguageModel& model() { return *model_; }
  const WarningLog& log() const { return log_; }

 private:
  std::unique_ptr<LanguageModel> model_;
  distributed::AllReduceGradientReducer reducer_;
  collators::PackingCollator packing_;
  WarningLog log_;
  std::unique_ptr<Trainer> trainer_;
};

}  // namespace hone::testing

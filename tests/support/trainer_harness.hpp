#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <utility>

#include "fakes/warning_log.hpp"
#include "hone/collators/causal_lm_collator.hpp"
#include "hone/core/training/trainer.hpp"
#include "hone/distributed/all_reduce_gradient_reducer.hpp"
#include "hone/distributed/tree_gradient_reducer.hpp"

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
    at::Device device = at::kCPU;
    std::vector<EvalSet> eval_sets = {};
    EvalHooks eval_hooks = {};
    bool deterministic = false;  ///< sums gradients in the order of a tree
    Communicator* reduce_on = nullptr;  ///< sums gradients, in small buckets; null: as everything else
    Activity* activity = nullptr;
    std::function<double(std::int64_t)> learning_rate = nullptr;
    std::function<std::unique_ptr<Optimizer>(ParameterStore&)> optimizer = nullptr;
  };

  TrainerHarness(const std::filesystem::path& model_folder, Communicator& comm,
                 TrainerOptions options, Extras extras)
      : model_(load_model(model_folder, {.dtype = extras.dtype,
                                          .device = extras.device,
                                          .with_masters = true})),
        reducer_(extras.reduce_on ? *extras.reduce_on : comm,
                 {.bucket_bytes = extras.reduce_on ? kSmallBucket : kWhole}),
        tree_reducer_(comm) {
    TrainerParts parts{.model = *model_,
                       .communicator = comm,
                       .reducer = extras.deterministic
                                      ? static_cast<GradientReducer&>(tree_reducer_)
                                      : static_cast<GradientReducer&>(reducer_),
                       .collator = extras.collator ? *extras.collator : packing_,
                       .log = log_,
                       .tokenizer = extras.tokenizer,
                       .checkpoints = extras.checkpoints,
                       .stop_signal = extras.stop_signal,
                       .activity = extras.activity,
                       .optimizer = extras.optimizer ? extras.optimizer(model_->parameters()) : nullptr,
                       .learning_rate = std::move(extras.learning_rate),
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
  static constexpr std::int64_t kSmallBucket = 4096;  ///< units: bytes
  static constexpr std::int64_t kWhole = distributed::ReducerOptions{}.bucket_bytes;

  std::unique_ptr<LanguageModel> model_;
  distributed::AllReduceGradientReducer reducer_;
  distributed::TreeGradientReducer tree_reducer_;
  collators::PackingCollator packing_;
  WarningLog log_;
  std::unique_ptr<Trainer> trainer_;
};

}  // namespace hone::testing

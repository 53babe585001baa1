#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/core/training/collator.hpp"
#include "hone/core/training/micro_batches.hpp"
#include "hone/core/training/row_exchange.hpp"

namespace hone {

class LanguageModel;

/// Named figures, in the order in which they were made.
using Metrics = std::vector<std::pair<std::string, double>>;

/// What compute_metrics gets: all samples in their order, once each, whatever the rank count.
/// Shape: predictions (N, ...) as the preprocessing left them, shorter ones filled with -100 at
/// their end; label_ids (N, T) int64, not shifted, -100 where nothing is trained and behind the
/// end.
struct EvalPrediction {
  at::Tensor predictions;
  at::Tensor label_ids;
};

/// Metrics of one's own. Source: transformers' Trainer, but for two things: without a preprocessing
/// the predictions are the likeliest ids, and compute_metrics runs on rank 0, for all.
struct EvalHooks {
  /// Called on each rank for each of its micro-batches. Shape: logits (n, T, V), labels (n, T)
  /// padded with -100; returns (n), or (n, T, ...) with `per_token`, or (n, ...) without. What it
  /// returns is gathered, so that (N, T, V) never exists.
  std::function<at::Tensor(const at::Tensor& logits, const at::Tensor& labels)>
      preprocess_logits_for_metrics;
  /// What it returns has a place for each token: each sample's own are kept, whatever was beside
  /// it.
  bool per_token = true;
  /// Called once an evaluation. Names get "eval_" in front unless they have it.
  std::function<Metrics(const EvalPrediction&)> compute_metrics;
};

/// Mean loss over an evaluation set, by target tokens, and what the hooks made of it.
struct EvalStats {
  std::string name;   ///< of the set; empty where there is but one
  double loss = 0.0;  ///< nats per target token
  std::int64_t num_samples = 0;
  std::int64_t num_tokens = 0;  ///< targets
  double target_weight = 0.0;   ///< what the loss is the mean over; 0: there is none
  std::int64_t truncated = 0;   ///< samples cut to max_length
  std::int64_t num_batches = 0;  ///< micro-batches, over all ranks
  double seconds = 0.0;         ///< of the slowest rank
  Metrics metrics;              ///< of compute_metrics, as it named them

  /// eval_loss, eval_tokens, eval_runtime, eval_samples_per_second, eval_steps_per_second (these
  /// steps are micro-batches) and the metrics; eval_NAME_... for a named set. Source: transformers'
  /// keys.
  Metrics to_map() const;
};

/// Loss over the rows of all ranks (agreed_rows()), without gradients. Weighted by tokens, so
/// that neither the rank count nor the batch size changes it (transformers' eval_loss depends on
/// both). Rows that another rank computes move there, and stay for the next evaluation. Collective.
EvalStats evaluate(LanguageModel& model, Communicator& comm, const Sharding& sharding,
                   const Collator& collator, GlobalRows& rows,
                   std::int64_t rows_per_micro_batch, const EvalHooks& hooks = {});

}  // namespace hone

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "hone/core/training/evaluate.hpp"

namespace hone::detail {

/// Predictions of an evaluation on their way from the ranks that made them to compute_metrics.
class GatheredPredictions {
 public:
  /// Both outlive it.
  GatheredPredictions(std::span<const TokenRow> rows, const EvalHooks& hooks)
      : rows_(rows), hooks_(hooks) {}

  /// One micro-batch of this rank: `samples` are places in the rows. Shape: logits (sum of lengths, V).
  /// Throws: InputError for a hook that returns another number of rows than it was given.
  void add(std::span<const std::int64_t> samples, std::span<const std::int64_t> lengths,
           const at::Tensor& logits);

  /// What compute_metrics makes of all ranks' predictions, on every rank; empty without that hook.
  /// Collective.
  Metrics metrics(Communicator& comm);

 private:
  /// Of an encoder-decoder's sequences: the token before the first label.
  std::int64_t num_start_tokens() const;
  at::Tensor labels_of(std::span<const std::int64_t> samples) const;
  EvalPrediction joined(std::span<const std::string> of_ranks) const;

  std::span<const TokenRow> rows_;
  const EvalHooks& hooks_;
  std::string packed_;  ///< of this rank: index, shape and values of each sample's prediction
  at::ScalarType dtype_ = at::kLong;
};

}  // namespace hone::detail

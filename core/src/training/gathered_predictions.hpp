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
  /// Both outlive it. `rows`: of all ranks; this one's are there. `num_start_tokens`: of a
  /// sequence, before its first label: 1 of encoder-decoders, else 0.
  GatheredPredictions(std::span<const TokenRow> rows, const EvalHooks& hooks,
                      std::int64_t num_start_tokens)
      : rows_(rows), hooks_(hooks), num_start_tokens_(num_start_tokens) {}

  /// One micro-batch of this rank: `samples` are places in the rows. Shape: logits (sum of lengths,
  /// V).
  /// Throws: InputError for a hook that returns another number of rows than it was given.
  void add(std::span<const std::int64_t> samples, std::span<const std::int64_t> lengths,
           const at::Tensor& logits);

  /// What compute_metrics makes of all ranks' predictions, on every rank; empty without that hook.
  /// Collective.
  Metrics metrics(Communicator& comm);

 private:
  /// Not shifted, without what stands before the first.
  std::span<const std::int64_t> labels_of(std::int64_t sample) const;
  EvalPrediction joined(std::span<const std::string> of_ranks) const;

  std::span<const TokenRow> rows_;
  const EvalHooks& hooks_;
  std::int64_t num_start_tokens_;
  /// Of this rank: index, labels, shape and values of each sample's prediction.
  std::string packed_;
};

}  // namespace hone::detail

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "hone/core/model/language_model.hpp"

namespace hone {

struct CollatedBatch;

/// A micro-batch without padding, ready for a model: N tokens of which M are predicted.
struct PackedBatch {
  at::Tensor ids;                     ///< (N) int64
  at::Tensor positions;               ///< (N) int64, from 0 in each sequence
  std::vector<std::int64_t> lengths;  ///< of the sequences; they sum to N
  at::Tensor predictors;              ///< (M) int64: the token whose hidden state predicts a target
  at::Tensor targets;                 ///< (M) int64
  at::Tensor weights;                 ///< (M) float32 or the model's wider type; undefined: all 1
  double target_weight = 0.0;         ///< their sum
  at::Tensor source_ids;              ///< of encoder-decoders, source behind source; else undefined
  std::vector<std::int64_t> source_lengths;  ///< one for each sequence
  ExtraTensors extra;                 ///< what the collator added, each (N, ...)
  std::vector<std::int64_t> samples;  ///< which rows it was made of, as places in the call's list

  std::int64_t num_targets() const { return targets.size(0); }
  /// What the model computes: tokens of the sequences and of their sources.
  std::int64_t num_tokens() const {
    return ids.size(0) + (source_ids.defined() ? source_ids.size(0) : 0);
  }
};

/// Drops padding by mask (never by id) and pairs every trained label with its predecessor. A first
/// token of a sequence, and one whose predecessor is padding, is never a target. `model`: the
/// device, and the type of what is not whole numbers.
/// Throws: InputError for shapes that do not fit together, and for real tokens outside the
/// vocabulary.
PackedBatch unpad(const CollatedBatch& batch, at::TensorOptions model,
                  std::int64_t vocab_size = std::numeric_limits<std::int64_t>::max());

}  // namespace hone

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "hone/core/training/token_row.hpp"

namespace hone {

/// A micro-batch as a collator lays it out; padded or packed, on the CPU.
struct CollatedBatch {
  at::Tensor input_ids;       ///< (B, T) int64
  at::Tensor labels;          ///< (B, T) int64, kIgnoredLabel where not trained
  at::Tensor attention_mask = {};  ///< (B, T), 0 is padding; undefined means no padding
  at::Tensor position_ids = {};    ///< (B, T) int64; undefined means from 0 in each sequence
  at::Tensor weights = {};         ///< (B, T) float64, of each token as a target; undefined means all 1
  /// Lengths of the sequences in row-major order of the real tokens; empty means one sequence a
  /// row.
  std::vector<std::int64_t> sequence_lengths = {};

  // Of encoder-decoders, whose sequences above are the decoder's (TokenRow).
  at::Tensor source_ids = {};   ///< (B', S) int64
  at::Tensor source_mask = {};  ///< (B', S), 0 is padding; undefined means no padding
  /// Lengths of the sources, one for each sequence; empty means one source a row.
  std::vector<std::int64_t> source_lengths = {};

  /// For models of one's own. Shape: each (B, T, ...), one entry a token; padding is dropped as
  /// that of input_ids, and the model gets them as TokenInput::extra.
  std::map<std::string, at::Tensor> extra = {};
};

/// Samples to a micro-batch. The trainer removes whatever padding it adds before the model runs.
class Collator {
 public:
  virtual ~Collator() = default;
  virtual CollatedBatch collate(std::span<const TokenRow> rows) const = 0;
};

}  // namespace hone

#pragma once

#include "hone/collators/causal_lm_collator.hpp"

namespace hone::collators {

/// Pads sources and targets, each to their longest, rounded up to a multiple.
/// Shape: source_ids and source_mask (B, S), input_ids, labels and attention_mask (B, T).
/// Source: transformers' DataCollatorForSeq2Seq, whose default multiple of TRL's trainer is 8.
class Seq2SeqCollator final : public Collator {
 public:
  explicit Seq2SeqCollator(std::int64_t pad_id, std::int64_t pad_to_multiple_of = 8,
                           PaddingSide side = PaddingSide::Right)
      : targets_(pad_id, pad_to_multiple_of, side),
        pad_id_(pad_id),
        multiple_(pad_to_multiple_of),
        side_(side) {}
  CollatedBatch collate(std::span<const TokenRow> rows) const override;

 private:
  PaddingCollator targets_;
  std::int64_t pad_id_;
  std::int64_t multiple_;
  PaddingSide side_;
};

}  // namespace hone::collators

#pragma once

#include "hone/core/training/collator.hpp"

namespace hone::collators {

/// Lays sequences one behind another in a single row, sources likewise: no padding is ever built.
/// The default, for decoder-only models and encoder-decoders alike.
/// Shape: input_ids and labels (1, N); sequence_lengths says where each begins.
class PackingCollator final : public Collator {
 public:
  CollatedBatch collate(std::span<const TokenRow> rows) const override;
};

enum class PaddingSide { Left, Right };

/// Pads every row to the longest, rounded up to a multiple.
/// Shape: input_ids, labels and attention_mask (B, T). Padded labels are ignored, padded ids are
/// `pad_id`, which may equal a real token's id: padding is known by mask only.
class PaddingCollator final : public Collator {
 public:
  explicit PaddingCollator(std::int64_t pad_id, std::int64_t pad_to_multiple_of = 1,
                           PaddingSide side = PaddingSide::Right)
      : pad_id_(pad_id), multiple_(pad_to_multiple_of), side_(side) {}
  CollatedBatch collate(std::span<const TokenRow> rows) const override;

 private:
  std::int64_t pad_id_;
  std::int64_t multiple_;
  PaddingSide side_;
};

}  // namespace hone::collators

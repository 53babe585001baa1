#include "hone/collators/seq2seq_collator.hpp"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "padding.hpp"

namespace hone::collators {

CollatedBatch Seq2SeqCollator::collate(std::span<const TokenRow> rows) const {
  auto batch = targets_.collate(rows);
  std::vector<std::int64_t> lengths;
  for (const auto& row : rows) lengths.push_back(row.source_length());
  const auto width = detail::padded_width(lengths, multiple_);
  const auto count = static_cast<std::int64_t>(rows.size());
  batch.source_ids = at::full({count, width}, pad_id_, at::kLong);
  batch.source_mask = at::zeros({count, width}, at::kLong);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto& row = rows[static_cast<std::size_t>(i)];
    const auto real = [&](const at::Tensor& table) {
      return detail::real_part(table[i], row.source_length(), side_);
    };
    real(batch.source_ids).copy_(at::tensor(row.source_ids, at::kLong));
    real(batch.source_mask).fill_(1);
  }
  return batch;
}

}  // namespace hone::collators

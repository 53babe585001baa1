#include "hone/collators/causal_lm_collator.hpp"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "padding.hpp"

namespace hone::collators {

CollatedBatch PackingCollator::collate(std::span<const TokenRow> rows) const {
  std::vector<std::int64_t> ids, labels, source_ids;
  std::vector<double> weights;
  CollatedBatch batch;
  for (const auto& row : rows) {
    ids.insert(ids.end(), row.ids.begin(), row.ids.end());
    labels.insert(labels.end(), row.labels.begin(), row.labels.end());
    weights.insert(weights.end(), row.ids.size(), row.weight);
    batch.sequence_lengths.push_back(row.length());
    if (row.source_ids.empty()) continue;
    source_ids.insert(source_ids.end(), row.source_ids.begin(), row.source_ids.end());
    batch.source_lengths.push_back(row.source_length());
  }
  const auto one_row = [](const std::vector<std::int64_t>& values) {
    return at::tensor(values, at::kLong).unsqueeze(0);
  };
  batch.input_ids = one_row(ids);
  batch.labels = one_row(labels);
  if (is_weighted(rows)) batch.weights = at::tensor(weights, at::kDouble).unsqueeze(0);
  if (!source_ids.empty()) batch.source_ids = one_row(source_ids);
  return batch;
}

CollatedBatch PaddingCollator::collate(std::span<const TokenRow> rows) const {
  std::vector<std::int64_t> lengths;
  for (const auto& row : rows) lengths.push_back(row.length());
  const auto width = detail::padded_width(lengths, multiple_);
  const auto count = static_cast<std::int64_t>(rows.size());
  CollatedBatch batch{.input_ids = at::full({count, width}, pad_id_, at::kLong),
                      .labels = at::full({count, width}, kIgnoredLabel, at::kLong),
                      .attention_mask = at::zeros({count, width}, at::kLong)};
  if (is_weighted(rows)) batch.weights = at::zeros({count, width}, at::kDouble);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto& row = rows[static_cast<std::size_t>(i)];
    const auto real = [&](const at::Tensor& table) {
      return detail::real_part(table[i], row.length(), side_);
    };
    real(batch.input_ids).copy_(at::tensor(row.ids, at::kLong));
    real(batch.labels).copy_(at::tensor(row.labels, at::kLong));
    real(batch.attention_mask).fill_(1);
    if (batch.weights.defined()) batch.weights[i].fill_(row.weight);
  }
  return batch;
}

}  // namespace hone::collators

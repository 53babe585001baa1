#include "hone/collators/causal_lm_collator.hpp"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace hone::collators {

CollatedBatch PackingCollator::collate(std::span<const TokenRow> rows) const {
  std::vector<std::int64_t> ids, labels;
  std::vector<double> weights;
  CollatedBatch batch;
  for (const auto& row : rows) {
    ids.insert(ids.end(), row.ids.begin(), row.ids.end());
    labels.insert(labels.end(), row.labels.begin(), row.labels.end());
    weights.insert(weights.end(), row.ids.size(), row.weight);
    batch.sequence_lengths.push_back(row.num_tokens());
  }
  batch.input_ids = at::tensor(ids, at::kLong).unsqueeze(0);
  batch.labels = at::tensor(labels, at::kLong).unsqueeze(0);
  if (is_weighted(rows)) batch.weights = at::tensor(weights, at::kDouble).unsqueeze(0);
  return batch;
}

CollatedBatch PaddingCollator::collate(std::span<const TokenRow> rows) const {
  std::int64_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.num_tokens());
  width = (width + multiple_ - 1) / multiple_ * multiple_;
  const auto count = static_cast<std::int64_t>(rows.size());
  CollatedBatch batch{.input_ids = at::full({count, width}, pad_id_, at::kLong),
                      .labels = at::full({count, width}, kIgnoredLabel, at::kLong),
                      .attention_mask = at::zeros({count, width}, at::kLong),
                      .position_ids = {},
                      .weights = {},
                      .sequence_lengths = {}};
  if (is_weighted(rows)) batch.weights = at::zeros({count, width}, at::kDouble);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto& row = rows[static_cast<std::size_t>(i)];
    const auto length = row.num_tokens();
    batch.input_ids[i].narrow(0, 0, length).copy_(at::tensor(row.ids, at::kLong));
    batch.labels[i].narrow(0, 0, length).copy_(at::tensor(row.labels, at::kLong));
    batch.attention_mask[i].narrow(0, 0, length).fill_(1);
    if (batch.weights.defined()) batch.weights[i].fill_(row.weight);
  }
  return batch;
}

}  // namespace hone::collators

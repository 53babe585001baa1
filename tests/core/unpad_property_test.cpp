// However a collator lays rows out, the model gets the same tokens and targets.
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "hone/collators/causal_lm_collator.hpp"
#include "hone/core/training/packed_batch.hpp"
#include "support/random_samples.hpp"

namespace hone::testing {
namespace {

std::vector<TokenRow> rows_of(const std::vector<RandomSample>& samples) {
  std::vector<TokenRow> rows;
  for (const auto& sample : samples) rows.push_back(without_padding(sample));
  return rows;
}

PackedBatch unpadded(const CollatedBatch& batch) {
  return unpad(batch, at::TensorOptions{at::kDouble});
}

PackedBatch packed(const std::vector<RandomSample>& samples) {
  return unpadded(collators::PackingCollator{}.collate(rows_of(samples)));
}

/// Brings a sample's row to `width` with padding of random ids and labels on one side.
void widen(RandomSample& sample, std::size_t width, bool left) {
  const auto missing = width - sample.ids.size();
  const auto add = [&](TokenIds& values, std::int64_t value) {
    values.insert(left ? values.begin() : values.end(), missing, value);
  };
  add(sample.ids, *rc::gen::inRange<std::int64_t>(0, 37));
  add(sample.labels, *rc::gen::inRange<std::int64_t>(0, 37));
  add(sample.mask, 0);
}

at::Tensor table(const std::vector<TokenIds>& rows) {
  std::vector<at::Tensor> tensors;
  for (const auto& row : rows) tensors.push_back(at::tensor(row, at::kLong));
  return at::stack(tensors);
}

/// The samples with their own padding, widened to one width.
CollatedBatch padded(std::vector<RandomSample> samples) {
  auto width = *rc::gen::inRange<std::size_t>(1, 80);
  for (const auto& sample : samples) width = std::max(width, sample.ids.size());
  std::vector<at::Tensor> weights;
  for (auto& sample : samples) {
    widen(sample, width, *rc::gen::arbitrary<bool>());
    weights.push_back(at::tensor(std::vector<double>(width, sample.weight), at::kDouble));
  }
  const auto batch = with_masks(samples);
  return {.input_ids = table(batch.input_ids),
          .labels = table(batch.labels),
          .attention_mask = table(batch.attention_mask),
          .position_ids = {},
          .weights = at::stack(weights),
          .sequence_lengths = {}};
}

/// Undefined weights mean 1 each.
at::Tensor weights_of(const PackedBatch& batch) {
  return batch.weights.defined() ? batch.weights : at::ones_like(batch.targets, at::kDouble);
}

void assert_same(const PackedBatch& got, const PackedBatch& expected) {
  RC_ASSERT(got.lengths == expected.lengths);
  RC_ASSERT(got.ids.equal(expected.ids));
  RC_ASSERT(got.positions.equal(expected.positions));
  RC_ASSERT(got.predictors.equal(expected.predictors));
  RC_ASSERT(got.targets.equal(expected.targets));
  RC_ASSERT(weights_of(got).equal(weights_of(expected)));
  RC_ASSERT(got.target_weight == expected.target_weight);
}

RC_GTEST_PROP(Unpad, SideAndWidthOfPaddingAreNeutral, ()) {
  const auto samples = *random_samples(8);
  assert_same(unpadded(padded(samples)), packed(samples));
}

RC_GTEST_PROP(Unpad, ThePaddingCollatorIsAsThePackingOne, ()) {
  const auto samples = *random_samples(8);
  const auto pad = *rc::gen::inRange<std::int64_t>(0, 37);
  const auto multiple = *rc::gen::inRange<std::int64_t>(1, 65);
  assert_same(unpadded(collators::PaddingCollator{pad, multiple}.collate(rows_of(samples))),
              packed(samples));
}

RC_GTEST_PROP(Unpad, EveryTargetIsPredictedByTheTokenBeforeIt, ()) {
  const auto samples = *random_samples(8);
  const auto batch = packed(samples);
  std::int64_t start = 0, next = 0;
  for (const auto& row : rows_of(samples)) {
    for (std::int64_t t = 1; t < row.num_tokens(); ++t) {
      const auto label = row.labels[static_cast<std::size_t>(t)];
      if (label == kIgnoredLabel) continue;
      RC_ASSERT(batch.predictors[next].item<std::int64_t>() == start + t - 1);
      RC_ASSERT(batch.targets[next].item<std::int64_t>() == label);
      ++next;
    }
    start += row.num_tokens();
  }
  RC_ASSERT(batch.num_targets() == next);
}

}  // namespace
}  // namespace hone::testing

// Padding out, targets paired with their predecessors.
#include "hone/core/training/packed_batch.hpp"

#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hone/collators/causal_lm_collator.hpp"
#include "hone/core/error.hpp"

namespace hone {
namespace {

using ::testing::ElementsAre;
using Ints = std::vector<std::int64_t>;

Ints ints(const at::Tensor& tensor) {
  const auto* data = tensor.const_data_ptr<std::int64_t>();
  return {data, data + tensor.numel()};
}

at::Tensor rows(std::initializer_list<Ints> lists) {
  std::vector<at::Tensor> tensors;
  for (const auto& list : lists) tensors.push_back(at::tensor(list, at::kLong));
  return at::stack(tensors);
}

void expect_two_sequences(const PackedBatch& batch) {
  EXPECT_THAT(ints(batch.ids), ElementsAre(3, 4, 5, 6, 7));
  EXPECT_THAT(ints(batch.positions), ElementsAre(0, 1, 2, 0, 1));
  EXPECT_THAT(batch.lengths, ElementsAre(3, 2));
  EXPECT_THAT(ints(batch.predictors), ElementsAre(0, 1, 3));
  EXPECT_THAT(ints(batch.targets), ElementsAre(4, 5, 7));
}

TEST(Unpad, EveryLayoutOfTheSameRowsIsTheSame) {
  const std::vector<TokenRow> samples{{{3, 4, 5}, {3, 4, 5}}, {{6, 7}, {6, 7}}};
  expect_two_sequences(unpad(collators::PackingCollator{}.collate(samples), at::TensorOptions{}));
  expect_two_sequences(unpad(collators::PaddingCollator{0}.collate(samples), at::TensorOptions{}));
  expect_two_sequences(unpad(collators::PaddingCollator{7, 8}.collate(samples), at::TensorOptions{}));
  // On the left, with labels under the padding.
  const auto ids = rows({{0, 3, 4, 5}, {0, 0, 6, 7}});
  expect_two_sequences(unpad({.input_ids = ids,
                              .labels = ids,
                              .attention_mask = rows({{0, 1, 1, 1}, {0, 0, 1, 1}}),
                              .position_ids = {},
                              .weights = {},
                              .sequence_lengths = {}},
                             at::TensorOptions{}));
}

TEST(Unpad, IgnoredLabelsAreNoTargets) {
  const auto batch = unpad({.input_ids = rows({{3, 4, 5, 6}}),
                            .labels = rows({{3, -100, 5, -100}}),
                            .attention_mask = {},
                            .position_ids = {},
                            .weights = {},
                            .sequence_lengths = {}},
                           at::TensorOptions{});
  EXPECT_THAT(ints(batch.predictors), ElementsAre(1));
  EXPECT_THAT(ints(batch.targets), ElementsAre(5));
  EXPECT_EQ(batch.num_targets(), 1);
}

TEST(Unpad, LabelsNeedNotBeTheIds) {
  const auto batch = unpad({.input_ids = rows({{3, 4}}),
                            .labels = rows({{8, 9}}),
                            .attention_mask = {},
                            .position_ids = {},
                            .weights = {},
                            .sequence_lengths = {}},
                           at::TensorOptions{});
  EXPECT_THAT(ints(batch.targets), ElementsAre(9));
}

TEST(Unpad, TakesPositionsAndWeightsAlong) {
  const auto batch = unpad({.input_ids = rows({{3, 4, 0}, {5, 6, 7}}),
                            .labels = rows({{3, 4, 0}, {5, -100, 7}}),
                            .attention_mask = rows({{1, 1, 0}, {1, 1, 1}}),
                            .position_ids = rows({{8, 9, 9}, {0, 2, 4}}),
                            .weights = rows({{1, 2, 3}, {4, 5, 6}}).to(at::kDouble),
                            .sequence_lengths = {}},
                           at::TensorOptions{at::kDouble});
  EXPECT_THAT(ints(batch.positions), ElementsAre(8, 9, 0, 2, 4));
  EXPECT_THAT(ints(batch.targets), ElementsAre(4, 7));
  EXPECT_THAT(ints(batch.weights.to(at::kLong)), ElementsAre(2, 6));
  EXPECT_EQ(batch.target_weight, 8.0);
}

TEST(Unpad, ATokenBehindAGapIsNoTarget) {
  const auto batch = unpad({.input_ids = rows({{3, 4, 5, 6}}),
                            .labels = rows({{3, 4, 5, 6}}),
                            .attention_mask = rows({{1, 0, 1, 1}}),
                            .position_ids = {},
                            .weights = {},
                            .sequence_lengths = {}},
                           at::TensorOptions{});
  EXPECT_THAT(ints(batch.ids), ElementsAre(3, 5, 6));
  EXPECT_THAT(ints(batch.predictors), ElementsAre(1));
  EXPECT_THAT(ints(batch.targets), ElementsAre(6));
}

TEST(Unpad, RowsWithoutTokensVanish) {
  const auto batch = unpad({.input_ids = rows({{0, 0}, {6, 7}}),
                            .labels = rows({{0, 0}, {6, 7}}),
                            .attention_mask = rows({{0, 0}, {1, 1}}),
                            .position_ids = {},
                            .weights = {},
                            .sequence_lengths = {}},
                           at::TensorOptions{});
  EXPECT_THAT(batch.lengths, ElementsAre(2));
}

TEST(Unpad, RefusesShapesThatDoNotFit) {
  const auto ids = rows({{3, 4, 5}});
  const auto refuse = [&](const CollatedBatch& batch) {
    EXPECT_THROW(unpad(batch, at::TensorOptions{}), InputError);
  };
  refuse({.input_ids = ids, .labels = rows({{3, 4}})});
  refuse({.input_ids = ids, .labels = ids, .attention_mask = rows({{1, 1}})});
  refuse({.input_ids = ids, .labels = ids, .attention_mask = {}, .sequence_lengths = {2}});
  refuse({.input_ids = ids, .labels = ids, .attention_mask = {}, .sequence_lengths = {2, 2}});
}

}  // namespace
}  // namespace hone

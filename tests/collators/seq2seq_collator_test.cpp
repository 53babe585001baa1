#include "hone/collators/seq2seq_collator.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hone/core/training/packed_batch.hpp"

namespace hone::collators {
namespace {

using ::testing::ElementsAre;
using Ints = std::vector<std::int64_t>;

Ints ints(const at::Tensor& tensor) {
  const auto whole = tensor.contiguous();
  const auto* data = whole.const_data_ptr<std::int64_t>();
  return {data, data + whole.numel()};
}

/// Sources of three tokens and one, targets of two and one behind their start tokens.
const std::vector<TokenRow> kRows{
    {.ids = {0, 7, 1}, .labels = {kIgnoredLabel, 7, 1}, .source_ids = {3, 4, 5}},
    {.ids = {0, 8}, .labels = {kIgnoredLabel, 8}, .source_ids = {6}}};

TEST(Seq2SeqCollator, Row08_PadsSourcesAndTargetsToEight) {
  const auto batch = Seq2SeqCollator{/*pad_id=*/0}.collate(kRows);
  EXPECT_EQ(batch.source_ids.sizes(), (at::IntArrayRef{2, 8}));
  EXPECT_EQ(batch.labels.sizes(), (at::IntArrayRef{2, 8}));
  EXPECT_THAT(ints(batch.source_ids[0]), ElementsAre(3, 4, 5, 0, 0, 0, 0, 0));
  EXPECT_THAT(ints(batch.source_mask[0]), ElementsAre(1, 1, 1, 0, 0, 0, 0, 0));
  EXPECT_THAT(ints(batch.labels[0]), ElementsAre(-100, 7, 1, -100, -100, -100, -100, -100));
}

TEST(Seq2SeqCollator, PaddingIsDroppedOnEitherSide) {
  const auto packed = PackingCollator{}.collate(kRows);
  const auto expected = unpad(packed, at::kFloat);
  for (const auto side : {PaddingSide::Left, PaddingSide::Right}) {
    const auto got = unpad(Seq2SeqCollator{/*pad_id=*/3, 4, side}.collate(kRows), at::kFloat);
    EXPECT_TRUE(got.ids.equal(expected.ids));
    EXPECT_TRUE(got.source_ids.equal(expected.source_ids));
    EXPECT_EQ(got.source_lengths, expected.source_lengths);
    EXPECT_TRUE(got.predictors.equal(expected.predictors));
    EXPECT_TRUE(got.targets.equal(expected.targets));
  }
  EXPECT_THAT(ints(expected.targets), ElementsAre(7, 1, 8));
  EXPECT_THAT(expected.source_lengths, ElementsAre(3, 1));
}

TEST(PaddingCollator, PadsInFrontWhereAsked) {
  const auto batch = PaddingCollator{/*pad_id=*/9, 4, PaddingSide::Left}.collate(std::span{kRows}.first(1));
  EXPECT_THAT(ints(batch.input_ids), ElementsAre(9, 0, 7, 1));
  EXPECT_THAT(ints(batch.attention_mask), ElementsAre(0, 1, 1, 1));
}

}  // namespace
}  // namespace hone::collators

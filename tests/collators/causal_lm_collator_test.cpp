// The layouts themselves; that they mean the same is tested where padding is dropped (Unpad, law).
#include "hone/collators/causal_lm_collator.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hone::collators {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Ints = std::vector<std::int64_t>;

Ints ints(const at::Tensor& tensor) {
  const auto* data = tensor.const_data_ptr<std::int64_t>();
  return {data, data + tensor.numel()};
}

const std::vector<TokenRow> kRows{{{3, 4, 2}, {kIgnoredLabel, 4, 2}}, {{6}, {6}}};

TEST(PackingCollator, LaysRowsOneBehindAnother) {
  const auto batch = PackingCollator{}.collate(kRows);
  EXPECT_EQ(batch.input_ids.sizes(), (at::IntArrayRef{1, 4}));
  EXPECT_THAT(ints(batch.input_ids), ElementsAre(3, 4, 2, 6));
  EXPECT_THAT(ints(batch.labels), ElementsAre(kIgnoredLabel, 4, 2, 6));
  EXPECT_THAT(batch.sequence_lengths, ElementsAre(3, 1));
  EXPECT_FALSE(batch.attention_mask.defined());
}

TEST(PaddingCollator, PadsBehindAndMarksItByMask) {
  const auto batch = PaddingCollator{/*pad_id=*/2}.collate(kRows);
  EXPECT_EQ(batch.input_ids.sizes(), (at::IntArrayRef{2, 3}));
  EXPECT_THAT(ints(batch.input_ids), ElementsAre(3, 4, 2, 6, 2, 2));
  EXPECT_THAT(ints(batch.labels),
              ElementsAre(kIgnoredLabel, 4, 2, 6, kIgnoredLabel, kIgnoredLabel));
  EXPECT_THAT(ints(batch.attention_mask), ElementsAre(1, 1, 1, 1, 0, 0))
      << "a real token may have the pad's id";
}

TEST(PaddingCollator, RoundsTheWidthUp) {
  EXPECT_EQ(PaddingCollator(0, 8).collate(kRows).input_ids.size(1), 8);
  EXPECT_EQ(PaddingCollator(0, 3).collate(kRows).input_ids.size(1), 3);
}

TEST(Collators, NoRowsAreNoBatch) {
  EXPECT_EQ(PackingCollator{}.collate({}).input_ids.numel(), 0);
  EXPECT_THAT(PackingCollator{}.collate({}).sequence_lengths, IsEmpty());
  EXPECT_EQ(PaddingCollator{0}.collate({}).input_ids.size(0), 0);
}

}  // namespace
}  // namespace hone::collators

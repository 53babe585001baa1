#pragma once

#include <rapidcheck.h>

#include <iosfwd>
#include <vector>

#include "hone/core/training/batch.hpp"
#include "hone/core/training/token_row.hpp"

namespace hone::testing {

/// One sample as a user may pass it: tokens with padding anywhere among them.
struct RandomSample {
  TokenIds ids, labels, mask;
  double weight = 1.0;
};

std::ostream& operator<<(std::ostream& out, const RandomSample& sample);

/// 1 to 40 tokens of the fixtures' words, very unequal ones often; padding on either side or in the
/// middle; labels that are the ids, others, in part or all -100; if `weighted` a weight that may be
/// 0.
rc::Gen<RandomSample> random_sample(bool weighted);

/// 1 to `most` of them, with weights or all without.
rc::Gen<std::vector<RandomSample>> random_samples(std::size_t most);

/// What is left of a sample: its real tokens. One behind padding is no target, for nothing predicts
/// it.
TokenRow without_padding(const RandomSample& sample);

/// The samples as step() takes them, with masks or freed of padding.
Batch with_masks(const std::vector<RandomSample>& samples);
Batch without_masks(const std::vector<RandomSample>& samples);

}  // namespace hone::testing

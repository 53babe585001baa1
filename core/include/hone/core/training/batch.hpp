#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hone {

using TokenIds = std::vector<std::int64_t>;

/// Who holds which samples of a batch.
enum class BatchScope {
  Replicated,  ///< every rank was given the same batch; a hash across ranks proves it
  PerRank,     ///< each rank brings its own samples, as after generate(); may be none
  Root,        ///< rank 0 has them; what other ranks pass is not looked at
};

/// What step() trains on: either `texts`, or `input_ids` with optional masks and labels.
struct Batch {
  std::vector<std::string> texts;
  /// What each text is to be answered with: then only these are trained, and closed with the end
  /// token. Empty: the texts themselves are trained.
  std::vector<std::string> texts_labels;
  std::vector<std::string> text_labels;  ///< the same under the other name that TRL's page has for it
  /// One list of token ids a sample.
  std::vector<TokenIds> input_ids;
  /// 0 marks padding, on whichever side; empty means all ones.
  std::vector<TokenIds> attention_mask;
  /// As long as input_ids, kIgnoredLabel where not trained; empty means input_ids themselves.
  std::vector<TokenIds> labels;
  /// How much each sample counts, >= 0: an update's loss is sum(weight * NLL) / sum(weight *
  /// targets). Empty: all alike.
  std::vector<double> weights;
  BatchScope scope = BatchScope::Replicated;
  /// PerRank only: a number for each sample by which the ranks' samples are put in one order, so
  /// that an update has the same samples whoever held them (full_determinism: the same bits; else
  /// they may differ by rounding). Empty: rank by rank.
  std::vector<std::int64_t> order;
};

}  // namespace hone

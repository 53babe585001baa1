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
  /// One list of token ids a sample.
  std::vector<TokenIds> input_ids;
  /// 0 marks padding, on whichever side; empty means all ones.
  std::vector<TokenIds> attention_mask;
  /// As long as input_ids, kIgnoredLabel where not trained; empty means input_ids themselves.
  std::vector<TokenIds> labels;
  BatchScope scope = BatchScope::Replicated;
};

}  // namespace hone

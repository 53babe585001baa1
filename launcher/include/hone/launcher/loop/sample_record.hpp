#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hone/core/data/line_reader.hpp"

namespace hone::launcher {

/// One line of samples/round-NNNN.jsonl: a completion and what became of it.
struct SampleRecord {
  std::int64_t round = 0;
  std::int64_t step = 0;  ///< updates applied when it was sampled
  std::int64_t prompt_index = 0;
  std::int64_t k = 0;
  std::int64_t rank = 0;
  std::string prompt;
  std::string completion;
  std::vector<std::int64_t> prompt_ids;  ///< what the model was given, to the id
  std::vector<std::int64_t> completion_ids;
  std::string finish_reason;
  double reward = 0;
  bool kept = false;
  std::string outcome;  ///< name_of(KeepOutcome): why it was not kept

  bool operator==(const SampleRecord&) const = default;
};

/// One JSON object, its keys in the order above, without a line end. Bytes of the texts that are
/// not UTF-8 (a character cut in half) become replacement characters; the ids stay exact.
std::string to_json_line(const SampleRecord& record);

/// Throws: InputError with the line's place where a key is missing or of another type.
SampleRecord parse_sample_record(const Line& line);

}  // namespace hone::launcher

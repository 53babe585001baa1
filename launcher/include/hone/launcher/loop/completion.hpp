#pragma once

#include <cstdint>
#include <string>

#include "hone/core/data/jsonl.hpp"

namespace hone::launcher {

/// One answer of the model, before anybody has judged it.
struct Completion {
  std::int64_t prompt_index = 0;  ///< position in the round, the same on every rank
  std::int64_t k = 0;             ///< which of the prompt's samples
  std::string prompt;             ///< as the model saw it
  std::string completion;
  const PromptRow* row = nullptr;  ///< the prompt's line of the file; outlives the completion
};

}  // namespace hone::launcher

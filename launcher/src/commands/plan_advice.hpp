#pragma once

#include <string>
#include <vector>

#include "commands/planner.hpp"

namespace hone::launcher {

/// What the reader of a plan must know of it, a sentence each: why there are no times, which speeds
/// were taken without being given, samples longer than the model was made for.
std::vector<std::string> notes_of(const PlanOptions& options, const Planner& planner,
                                  const std::vector<Plan>& plans);

/// What options come to that need less memory.
struct Change {
  std::string name;                  ///< as typed, without dashes
  std::vector<std::int64_t> totals;  ///< bytes of a rank, for each number of ranks
};

/// Whether a rank has enough of memory_gb; true where that was not given.
bool fits(const PlanOptions& options, std::int64_t total);

/// Where a plan does not fit: what each option that helps comes to alone, and all of them together.
/// Empty where all plans fit.
std::vector<Change> changes_that_help(const PlanOptions& options, const std::vector<Plan>& plans);

}  // namespace hone::launcher

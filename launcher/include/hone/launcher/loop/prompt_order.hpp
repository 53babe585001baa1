#pragma once

#include <cstdint>
#include <vector>

namespace hone::launcher {

/// The prompts that one round takes: rows of the prompt file, in the round's order.
///
/// The file is read in passes; each pass is its own permutation, keyed by (seed, pass). Round r
/// takes the positions [r * per_round, (r + 1) * per_round) of the passes laid end to end, so a
/// round may begin in one pass and end in the next. A pure function: nothing to save, nothing to
/// resume.
///
/// `round` counts from 0. Shape: per_round numbers in [0, num_prompts); one number may come twice
/// where the round spans two passes.
/// Throws: ConfigError where num_prompts or per_round is less than 1 or round is negative.
std::vector<std::int64_t> prompts_of_round(std::uint64_t seed, std::int64_t round,
                                           std::int64_t per_round, std::int64_t num_prompts);

}  // namespace hone::launcher

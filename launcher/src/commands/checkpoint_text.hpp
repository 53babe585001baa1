#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "hone/checkpoints/inspect.hpp"

namespace hone::launcher {

/// "123.4 MB".
std::string megabytes(std::int64_t bytes);

/// "runs/a/checkpoint-20  step 20, 114 tensors, 39.5 MB, 2 ranks, whole", or what is BAD; with the line's
/// end. `verdict` stands in the place of "whole".
std::string one_line(const checkpoints::CheckpointSummary& summary,
                     const std::string& verdict = "whole");

/// Indented, with a line's end; what is not UTF-8 is replaced.
std::string dumped(const nlohmann::ordered_json& json);

/// Of a command that looks at checkpoints: 0, or 65 where one is bad.
int exit_code_of(bool all_whole);

}  // namespace hone::launcher

#pragma once

#include <filesystem>

#include "hone/core/training/evaluate.hpp"

namespace hone::launcher {

/// Throws: InputError naming the file, where `stats` of all its samples are those of no target.
void require_targets(const EvalStats& stats, const std::filesystem::path& file);

}  // namespace hone::launcher

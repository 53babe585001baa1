#pragma once

#include <nlohmann/json.hpp>

#include "hone/core/training/step_stats.hpp"

namespace hone::launcher {

/// The record of kind "update" in metrics.jsonl; commands add what only they know.
nlohmann::ordered_json update_record(const UpdateStats& update);

}  // namespace hone::launcher

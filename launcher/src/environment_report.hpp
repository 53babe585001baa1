#pragma once

#include <nlohmann/json.hpp>

#include "hone/launcher/launch_environment.hpp"

namespace hone::launcher {

/// What `hone env` shows, by section. Starts neither MPI nor the tensor library.
nlohmann::ordered_json environment_report(const LaunchEnvironment& environment);

}  // namespace hone::launcher

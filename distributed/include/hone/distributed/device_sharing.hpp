#pragma once

#include <string>

#include "hone/core/communicator.hpp"

namespace hone::distributed {

/// Whether two ranks compute on one device. By accident they are each half as fast and run out of
/// its memory. `uuid` names this rank's device; empty where sharing is no question, as on CPUs.
/// Collective. Throws: LaunchError on all ranks, naming the first two that share, unless `allowed`.
bool devices_are_shared(Communicator& comm, const std::string& uuid, bool allowed);

}  // namespace hone::distributed

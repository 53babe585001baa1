#pragma once

#include <string>

#include "hone/core/communicator.hpp"

namespace hone::distributed {

/// Two ranks that compute on one device by accident are each half as fast and run out of its memory.
/// `uuid` names this rank's device; empty where sharing is no question, as on CPUs.
/// Collective. Throws: LaunchError on all ranks, naming the first two that share, unless `allowed`.
void require_devices_of_their_own(Communicator& comm, const std::string& uuid, bool allowed);

}  // namespace hone::distributed

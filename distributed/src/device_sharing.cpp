#include "hone/distributed/device_sharing.hpp"

#include <map>

#include "hone/core/error.hpp"

namespace hone::distributed {

bool devices_are_shared(Communicator& comm, const std::string& uuid, bool allowed) {
  const auto all = all_gather_strings(comm, uuid);
  std::map<std::string, std::size_t> owners;
  bool shared = false;
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].empty()) continue;
    const auto [owner, is_first] = owners.emplace(all[rank], rank);
    if (is_first) continue;
    shared = true;
    if (allowed) continue;
    throw LaunchError{"ranks " + std::to_string(owner->second) + " and " + std::to_string(rank) +
                      " compute on one device (" + all[rank] +
                      "). Start one rank per device, or say --allow_shared_device"};
  }
  return shared;
}

}  // namespace hone::distributed

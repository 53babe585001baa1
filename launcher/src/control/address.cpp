#include "address.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "hone/core/error.hpp"

namespace hone::launcher::control {
namespace {

struct Interface {
  std::string name;
  std::string address;
  bool is_local = false;  ///< leads to no other host: loopback, bridges of containers
};

bool is_of_containers(std::string_view name) {
  const auto prefixes = {"docker", "veth",  "virbr",   "br-",  "cni",
                         "podman", "lxc",   "flannel", "cali", "tailscale"};
  return std::ranges::any_of(prefixes,
                             [&](const char* prefix) { return name.starts_with(prefix); });
}

std::vector<Interface> interfaces_up() {
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) return {};
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner{first, freeifaddrs};
  std::vector<Interface> found;
  for (const auto* entry = first; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET) continue;
    if ((entry->ifa_flags & IFF_UP) == 0) continue;
    char text[INET_ADDRSTRLEN] = {};
    const auto* address = reinterpret_cast<const sockaddr_in*>(entry->ifa_addr);
    inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
    const bool is_loopback = (entry->ifa_flags & IFF_LOOPBACK) != 0;
    found.push_back({entry->ifa_name, text, is_loopback || is_of_containers(entry->ifa_name)});
  }
  return found;
}

}  // namespace

std::string control_address(bool one_host, const std::string& interface) {
  if (interface.empty() && one_host) return "127.0.0.1";
  std::string names;
  for (const auto& found : interfaces_up()) {
    if (interface.empty() ? !found.is_local : found.name == interface) return found.address;
    names += (names.empty() ? "" : ", ") + found.name + " (" + found.address + ")";
  }
  const std::string missing =
      interface.empty() ? "no network interface leads to other hosts"
                        : "control_interface: there is no interface \"" + interface + "\"";
  throw LaunchError{missing + " on the host of rank 0; it has " + names +
                    ". Name one with --control_interface"};
}

}  // namespace hone::launcher::control

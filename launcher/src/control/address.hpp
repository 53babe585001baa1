#pragma once

#include <string>

namespace hone::launcher::control {

/// The IPv4 address that rank 0 listens on: of `interface`, else 127.0.0.1 where all ranks are on
/// one host, else of the first network interface that is up and leads elsewhere.
/// Throws: LaunchError naming the interfaces that there are.
std::string control_address(bool one_host, const std::string& interface);

}  // namespace hone::launcher::control

#pragma once

#include <string>

#include "hone/core/communicator.hpp"

namespace hone::launcher {

/// All ranks were given the same options but for those of a machine (num_threads, say).
/// `resolved_yaml` as OptionRegistry::dump_yaml() gives it.
/// Collective. Throws: ConfigError on every rank that names the first option, both values and what
/// to type.
void require_equal_options(Communicator& comm, const std::string& resolved_yaml);

}  // namespace hone::launcher

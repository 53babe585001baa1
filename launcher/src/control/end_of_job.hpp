#pragma once

#include <string>
#include <string_view>

#include "hone/launcher/control_channel.hpp"

namespace hone::launcher::control {

std::string to_bytes(const EndOfJob& end);
/// Throws: InputError for bytes that are none.
EndOfJob end_of_job(std::string_view bytes);

}  // namespace hone::launcher::control

#pragma once

#include <cstdint>

namespace hone::launcher {

/// Pages that this process waited for since it began.
std::int64_t page_faults();

}  // namespace hone::launcher

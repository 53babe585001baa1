#pragma once

#include <cstdint>

namespace hone::launcher {

/// Bytes of the most memory that this process had resident.
std::int64_t peak_memory();

/// Pages that this process waited for since it began.
std::int64_t page_faults();

}  // namespace hone::launcher

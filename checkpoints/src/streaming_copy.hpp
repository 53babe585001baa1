#pragma once

#include <cstddef>
#include <span>

namespace hone::checkpoints::detail {

/// Copies `from` to `to`, aligned to 64 bytes, past the caches where the processor can: what is read
/// again much later would only push out what is needed soon, and a store through the cache reads
/// the line that it overwrites. The C library does so for copies of hundreds of megabytes alone.
void streaming_copy(std::byte* to, std::span<const std::byte> from);

}  // namespace hone::checkpoints::detail

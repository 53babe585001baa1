#pragma once

#include <cstddef>
#include <span>

#include "hone/distributed/nccl_api.hpp"

namespace hone::testing {

std::size_t element_bytes(distributed::NcclDataType type);

/// into[i] = into[i] op from[i], as NCCL's kernels do it.
void reduce(std::span<std::byte> into, std::span<const std::byte> from,
            distributed::NcclDataType type, distributed::NcclReduceOp op);

}  // namespace hone::testing

#pragma once

#include <cstdint>
#include <span>

#include "hone/core/communicator.hpp"
#include "hone/core/dtype.hpp"

namespace hone::distributed::detail {

// Element-wise reduction, the same for every communicator that computes by itself: Float16 and
// BFloat16 are added in float; Int64 sums wrap; Min and Max of floats give NaN where any operand is
// NaN and order -0 below +0, so that they commute in every bit.

/// into[i] = into[i] op from[i]. 16-bit floats are rounded after each call.
void combine(void* into, const void* from, std::int64_t count, DType dtype, ReduceOp op);

/// Reduces elements [first, first + count) over all buffers, in the buffers' order, and writes them
/// to the same places of `results`: some of the buffers, or others. 16-bit floats are rounded once,
/// at the end. Never throws.
void reduce_in_order(std::span<void* const> buffers, std::span<void* const> results,
                     std::int64_t first, std::int64_t count, DType dtype, ReduceOp op) noexcept;

}  // namespace hone::distributed::detail

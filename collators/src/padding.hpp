#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "hone/collators/causal_lm_collator.hpp"

namespace hone::collators::detail {

/// The longest of `lengths`, rounded up. Zero for none.
std::int64_t padded_width(std::span<const std::int64_t> lengths, std::int64_t multiple);

/// The part of a padded row that holds `length` real entries. Shape: row (T); returns a view
/// (length).
at::Tensor real_part(const at::Tensor& row, std::int64_t length, PaddingSide side);

}  // namespace hone::collators::detail

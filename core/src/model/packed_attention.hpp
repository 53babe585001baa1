#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace hone::detail {

/// Causal attention of sequences that lie one behind another, for autograd one function: each
/// sequence is read and written where it lies, forward and backward, where splitting and joining
/// would copy.
/// Shape: q (N, H, D), k and v (N, K, D), which may be views of one product; lengths sum to N;
/// `mask` (1, T, T), 0 or -inf, T the longest sequence that does not take the flash kernel;
/// undefined where all take it. Returns (N, H, D), contiguous.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::span<const std::int64_t> lengths, const at::Tensor& mask,
                            double scale);

}  // namespace hone::detail

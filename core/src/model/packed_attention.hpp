#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace hone::detail {

/// Causal attention of sequences that lie one behind another, by the kernels of AttentionKernels:
/// each sequence is read and written where it lies, forward and backward, and of what is computed
/// only one number for each query and head is kept. For tensors that has_kernels() says yes to.
/// Shape: q (N, H, D), k and v (N, K, D), which may be views of one product (where heads of a row do
/// not lie beside each other they are copied first); lengths sum to N, none zero. Returns (N, H, D),
/// contiguous. Throws: c10::Error where sizes or types do not fit together.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::span<const std::int64_t> lengths, double scale);

}  // namespace hone::detail

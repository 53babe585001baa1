#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace hone::detail {

/// Whether the kernels are made for heads of such width.
constexpr bool fits_varlen_kernel(std::int64_t head_dim, std::int64_t element_bytes) {
  return head_dim * element_bytes % 16 == 0 && head_dim <= 256;
}

/// Whether a GPU's own kernel for packed sequences takes such queries: of float32 or half its width.
/// Shape: q (N, H, D).
bool has_varlen_kernel(const at::Tensor& q);

/// Where each sequence begins, and where the last one ends, for varlen_attention(). The copy to the
/// device is not waited for. Shape: returns (number of sequences + 1) int32.
at::Tensor sequence_bounds(std::span<const std::int64_t> lengths, at::Device device);

/// Each token over its own sequence up to itself, all sequences and heads in one kernel each way.
/// Differentiable.
/// Shape: q (N, H, D); k, v (N, K, D) with H a multiple of K; returns (N, H, D). `longest` in
/// tokens. In float32 keys and values are repeated for the query heads that share them.
/// Throws: c10::Error for halves on GPUs older than Ampere. Source: Dao, FlashAttention-2 (2023), as
/// LibTorch has it; float32 see varlen_attention.cpp.
at::Tensor varlen_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& bounds, std::int64_t longest, double scale);

}  // namespace hone::detail

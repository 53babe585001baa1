#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace hone::detail {

// The kernels of RowKernels as functions that autograd knows: one pass forward, one backward. For
// tensors that has_kernels() says yes to.

/// Shape: x (N, C), weight (C); contiguous.
at::Tensor rms_norm_by_rows(const at::Tensor& x, const at::Tensor& weight, double eps);

/// silu(gate) up. Shape: alike, contiguous.
at::Tensor swiglu_by_rows(const at::Tensor& gate, const at::Tensor& up);

/// Shape: x (N, H, D) contiguous, cos and sin (N, D / 2).
at::Tensor rotate_by_rows(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

/// Cross entropy of each row; autograd does not know it. Where `factors` are given the rows' gradients,
/// times these, take the place of the logits.
/// Shape: logits (N, V) contiguous, targets (N) int64, factors (N) float64 or undefined; returns (N)
/// float64.
at::Tensor cross_entropy_by_rows(at::Tensor& logits, const at::Tensor& targets, double smoothing,
                                 const at::Tensor& factors);

}  // namespace hone::detail

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

}  // namespace hone::detail

#pragma once

#include <ATen/core/Tensor.h>

// Matrix products of any type on any device. Of bfloat16 on processors that do not multiply it, they
// are float32 products of widened copies, rounded once: LibTorch's own loops are 8 to 100 times slower
// there.
namespace hone::detail {

/// a b, and bias in each row where it is defined. Differentiable. Shape: (M, K), (K, N), (N,).
at::Tensor product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias = {});

/// out = a b, without gradients.
void product_into(at::Tensor& out, const at::Tensor& a, const at::Tensor& b);

/// a b of each matrix of a batch. Differentiable. Shape: (B, M, K), (B, K, N).
at::Tensor batch_product(const at::Tensor& a, const at::Tensor& b);

/// What product() and batch_product() are for bfloat16 in host memory where processors do not
/// multiply it: by float32 products, of some 16 MiB of b (of matrices of a batch) at a time.
/// Differentiable, and keeps nothing but a and b for it.
at::Tensor widened_product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias = {});

/// sum += a b likewise, of as much of a's rows at a time.
void add_widened_product(const at::Tensor& sum, const at::Tensor& a, const at::Tensor& b);

}  // namespace hone::detail

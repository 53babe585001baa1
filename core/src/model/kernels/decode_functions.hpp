#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "hone/core/model/layers.hpp"

namespace hone::detail {

// The kernels of DecodeKernels as functions of tensors, which autograd does not know.

/// Whether a product is for products_of_few_rows(): in inference mode (what is computed again for a
/// backward pass is to come out bit by bit as it did), and so few rows that reading the weights is
/// most of it. What does not fit together is for LibTorch, which says so.
bool has_few_rows(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// Shape: x (N, in), weights (out, in) contiguous, biases (out) or undefined; returns one (N, out)
/// for each layer.
std::vector<at::Tensor> products_of_few_rows(const at::Tensor& x,
                                             std::span<const LinearLayer> layers);

/// One query a row over the first of its cached keys and values, `lengths` of them, none zero.
/// Shape: q (R, H, D), keys and values (rows, K, T, D) contiguous with rows >= R, added to the
/// scores: float32 (R, K, H / K, longest) contiguous, or undefined; returns (R, H, D).
at::Tensor attend_cached(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values,
                         std::span<const std::int64_t> lengths, double scale,
                         const at::Tensor& added);

}  // namespace hone::detail

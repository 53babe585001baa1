#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace hone {

/// block(x), of which nothing but x is kept for the backward pass: that computes the block again.
/// What `block` refers to must live until then. Differentiable once; parameters that the block uses
/// get their gradients as if it had been called plainly.
/// Source: torch.utils.checkpoint (reentrant).
at::Tensor recomputed(const at::Tensor& x, std::function<at::Tensor(const at::Tensor&)> block);

}  // namespace hone

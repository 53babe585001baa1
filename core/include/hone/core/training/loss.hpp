#pragma once

#include <ATen/core/Tensor.h>

namespace hone {

/// Summed negative log-likelihood and, where asked, the gradient of scale * loss.
struct HeadLoss {
  at::Tensor nll_sum;          ///< scalar float64, nats; stays on the device
  at::Tensor hidden_gradient;  ///< (M, C); undefined without gradients
};

/// Loss and gradient of the output layer in one pass over chunks of rows: the (M, V) logits never
/// exist as a whole. With `with_gradient`, scale * dLoss/dweight is *added* to weight.grad() and
/// scale * dLoss/dhidden is returned; nothing is recorded by autograd.
/// Shape: hidden (M, C), weight (V, C), targets (M) int64 without ignored labels.
HeadLoss head_loss(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                   bool with_gradient, double scale);

}  // namespace hone

#pragma once

#include <ATen/core/Tensor.h>

namespace hone {

/// Summed loss (weighted, smoothed) and, where asked, the gradient of scale * loss.
struct HeadLoss {
  at::Tensor loss_sum;         ///< scalar float64, nats; stays on the device
  at::Tensor hidden_gradient;  ///< (M, C); undefined without gradients
};

struct HeadLossOptions {
  bool with_gradient = false;
  double scale = 1.0;            ///< of the gradient
  double label_smoothing = 0.0;  ///< share of the target that is spread evenly over the vocabulary
  at::Tensor target_weights;     ///< (M) float32, or float64 as hidden; undefined: all 1
};

/// Loss and gradient of the output layer in one pass over chunks of rows: the (M, V) logits never
/// exist as a whole. With gradients, scale * dLoss/dweight is *added* to weight.grad() and scale *
/// dLoss/dhidden is returned; nothing is recorded by autograd. Log-probabilities are at least
/// float32 whatever hidden is.
/// Shape: hidden (M, C), weight (V, C), targets (M) int64 without ignored labels. Source of the
/// smoothing: transformers' LabelSmoother.
HeadLoss head_loss(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                   const HeadLossOptions& options);

}  // namespace hone

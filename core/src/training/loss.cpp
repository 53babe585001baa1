#include "hone/core/training/loss.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "hone/core/model/layers.hpp"
#include "hone/core/training/plans.hpp"

namespace hone {
namespace {

/// Log-likelihood of what is to be predicted, summed over rows. Shape: log_probs (M, V), target and
/// weights (M, 1).
at::Tensor summed(const at::Tensor& log_probs, const at::Tensor& target, const at::Tensor& weights,
                  double smoothing) {
  auto rows = log_probs.gather(1, target).to(at::kDouble);
  if (smoothing > 0) {
    rows = rows * (1.0 - smoothing) + log_probs.mean(1, /*keepdim=*/true, at::kDouble) * smoothing;
  }
  return (weights.defined() ? rows * weights : rows).sum();
}

}  // namespace

HeadLoss head_loss(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                   const HeadLossOptions& options) {
  RECORD_USER_SCOPE("head_loss");  // for profilers
  const c10::NoGradGuard no_grad;
  const auto rows = hidden.size(0), vocab = weight.size(0);
  const auto chunk = head_loss_rows(vocab);
  const auto wide = hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  HeadLoss result{at::zeros({}, hidden.options().dtype(at::kDouble)), {}};
  if (options.with_gradient) result.hidden_gradient = at::empty_like(hidden);
  for (std::int64_t begin = 0; begin < rows; begin += chunk) {
    const auto count = std::min(chunk, rows - begin);
    const auto h = hidden.narrow(0, begin, count);
    const auto target = targets.narrow(0, begin, count).unsqueeze(1);
    auto log_probs = at::log_softmax(at::mm(h, weight.t()), 1, wide);
    const auto weights = options.target_weights.defined()
                             ? options.target_weights.narrow(0, begin, count).unsqueeze(1)
                             : at::Tensor{};
    result.loss_sum.sub_(summed(log_probs, target, weights, options.label_smoothing));
    if (!options.with_gradient) continue;
    // d loss / d logits = softmax - what is to be predicted, built in place of the
    // log-probabilities.
    auto& gradient = log_probs.exp_();
    gradient.scatter_add_(
        1, target, at::full_like(target, options.label_smoothing - 1.0, gradient.options()));
    if (options.label_smoothing > 0) gradient.sub_(options.label_smoothing / static_cast<double>(vocab));
    if (weights.defined()) gradient.mul_(weights);
    const auto logits_gradient = gradient.mul_(options.scale).to(hidden.scalar_type());
    auto hidden_part = result.hidden_gradient.narrow(0, begin, count);
    at::mm_out(hidden_part, logits_gradient, weight);
    add_product(weight.grad(), logits_gradient.t(), h);
  }
  return result;
}

}  // namespace hone

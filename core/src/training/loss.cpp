#include "hone/core/training/loss.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "hone/core/model/layers.hpp"
#include "hone/core/training/plans.hpp"
#include "model/kernels/row_functions.hpp"
#include "model/kernels/stored_type.hpp"
#include "model/products.hpp"

namespace hone {
namespace {

/// Of some rows.
struct CrossEntropy {
  at::Tensor loss_sum;         ///< scalar float64
  at::Tensor logits_gradient;  ///< as the logits; undefined where it was not asked for
};

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

/// Shape: logits (M, V), target and weights (M, 1), weights undefined where all are 1.
CrossEntropy by_operators(const at::Tensor& logits, const at::Tensor& target,
                          const at::Tensor& weights, const HeadLossOptions& options) {
  const auto wide = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  auto log_probs = at::log_softmax(logits, 1, wide);
  CrossEntropy result{summed(log_probs, target, weights, options.label_smoothing).neg(), {}};
  if (!options.with_gradient) return result;
  // d loss / d logits = softmax - what is to be predicted, built in place of the log-probabilities.
  auto& gradient = log_probs.exp_();
  gradient.scatter_add_(
      1, target, at::full_like(target, options.label_smoothing - 1.0, gradient.options()));
  if (options.label_smoothing > 0) {
    gradient.sub_(options.label_smoothing / static_cast<double>(logits.size(1)));
  }
  if (weights.defined()) gradient.mul_(weights);
  result.logits_gradient = gradient.mul_(options.scale).to(logits.scalar_type());
  return result;
}

/// The same in two passes over the logits, of which the gradient takes the place. Shape: logits
/// (M, V), target and weights (M, 1).
CrossEntropy by_rows(at::Tensor logits, const at::Tensor& target, const at::Tensor& weights,
                     const HeadLossOptions& options) {
  const auto in_double = weights.defined() ? weights.to(at::kDouble).squeeze(1) : at::Tensor{};
  at::Tensor factors;
  if (options.with_gradient) {
    factors = in_double.defined()
                  ? in_double * options.scale
                  : at::full({logits.size(0)}, options.scale, logits.options().dtype(at::kDouble));
  }
  const auto losses = detail::cross_entropy_by_rows(logits, target.squeeze(1).contiguous(),
                                                    options.label_smoothing, factors);
  const auto weighted = in_double.defined() ? losses * in_double : losses;
  return {weighted.sum(), options.with_gradient ? logits : at::Tensor{}};
}

}  // namespace

HeadLoss head_loss(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                   const HeadLossOptions& options) {
  RECORD_USER_SCOPE("head_loss");  // for profilers
  const c10::NoGradGuard no_grad;
  const auto rows = hidden.size(0);
  const auto chunk = head_loss_rows(weight.size(0));
  HeadLoss result{at::zeros({}, hidden.options().dtype(at::kDouble)), {}};
  if (options.with_gradient) result.hidden_gradient = at::empty_like(hidden);
  const bool is_trained = weight.requires_grad();  // else frozen
  for (std::int64_t begin = 0; begin < rows; begin += chunk) {
    const auto count = std::min(chunk, rows - begin);
    const auto h = hidden.narrow(0, begin, count);
    const auto target = targets.narrow(0, begin, count).unsqueeze(1);
    const auto weights = options.target_weights.defined()
                             ? options.target_weights.narrow(0, begin, count).unsqueeze(1)
                             : at::Tensor{};
    const auto logits = detail::product(h, weight.t());
    const auto part = detail::has_kernels(logits) ? by_rows(logits, target, weights, options)
                                                  : by_operators(logits, target, weights, options);
    result.loss_sum.add_(part.loss_sum);
    if (!options.with_gradient) continue;
    const auto& logits_gradient = part.logits_gradient;
    auto hidden_part = result.hidden_gradient.narrow(0, begin, count);
    detail::product_into(hidden_part, logits_gradient, weight);
    if (is_trained) add_product(weight.grad(), logits_gradient.t(), h);
  }
  return result;
}

}  // namespace hone

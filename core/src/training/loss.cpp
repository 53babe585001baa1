#include "hone/core/training/loss.hpp"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>

namespace hone {
namespace {

/// Units: logits held at once. 16 Mi of them (64 MiB in float32) keep the products large.
constexpr std::int64_t kChunkLogits = std::int64_t{1} << 24;

}  // namespace

HeadLoss head_loss(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                   bool with_gradient, double scale) {
  const c10::NoGradGuard no_grad;
  const auto rows = hidden.size(0), vocab = weight.size(0);
  const auto chunk = std::max<std::int64_t>(1, kChunkLogits / vocab);
  const auto wide = hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  HeadLoss result{at::zeros({}, hidden.options().dtype(at::kDouble)), {}};
  if (with_gradient) result.hidden_gradient = at::empty_like(hidden);
  for (std::int64_t begin = 0; begin < rows; begin += chunk) {
    const auto count = std::min(chunk, rows - begin);
    const auto h = hidden.narrow(0, begin, count);
    const auto target = targets.narrow(0, begin, count).unsqueeze(1);
    auto log_probs = at::log_softmax(at::mm(h, weight.t()), 1, wide);
    result.nll_sum.sub_(log_probs.gather(1, target).sum(at::kDouble));
    if (!with_gradient) continue;
    // d nll / d logits = softmax - one_hot(target), built in place of the log-probabilities.
    auto& gradient = log_probs.exp_();
    gradient.scatter_add_(1, target, at::ones_like(target, gradient.options()).neg_());
    const auto logits_gradient = gradient.mul_(scale).to(hidden.scalar_type());
    auto hidden_part = result.hidden_gradient.narrow(0, begin, count);
    at::mm_out(hidden_part, logits_gradient, weight);
    weight.grad().addmm_(logits_gradient.t(), h);
  }
  return result;
}

}  // namespace hone

#include "step_ratio/plain_loop.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/full.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace hone::bench {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8, kMaxNorm = 1.0;
constexpr std::int64_t kNoTarget = -100;

/// GPT-2's, with the approximation by tanh.
at::Tensor gelu_new(const at::Tensor& x) {
  const auto inner = std::sqrt(2.0 / M_PI) * (x + 0.044715 * x.pow(3));
  return 0.5 * x * (1.0 + at::tanh(inner));
}

/// Shape: (sequences, longest), filled up behind.
at::Tensor padded(const std::vector<std::vector<std::int64_t>>& sequences, std::int64_t filler) {
  std::size_t longest = 0;
  for (const auto& ids : sequences) longest = std::max(longest, ids.size());
  auto rows = at::full(
      {static_cast<std::int64_t>(sequences.size()), static_cast<std::int64_t>(longest)}, filler,
      at::kLong);
  for (std::size_t row = 0; row < sequences.size(); ++row) {
    const auto ids = at::tensor(sequences[row], at::kLong);
    rows[static_cast<std::int64_t>(row)].narrow(0, 0, ids.size(0)).copy_(ids);
  }
  return rows;
}

}  // namespace

PlainLoop::PlainLoop(LanguageModel& model, double learning_rate)
    : shape_(model.shape()), learning_rate_(learning_rate) {
  for (const auto& parameter : model.parameters().all()) {
    auto value = parameter.value.detach().clone().requires_grad_(true);
    parameters_[parameter.name] = {value, at::zeros_like(value), at::zeros_like(value)};
  }
}

at::Tensor PlainLoop::norm(const at::Tensor& x, const std::string& name) const {
  return at::layer_norm(x, {shape_.hidden_size}, of(name + ".weight"), of(name + ".bias"), 1e-5);
}

at::Tensor PlainLoop::affine(const at::Tensor& x, const std::string& name) const {
  const auto& weight = of(name + ".weight");
  const auto rows = at::addmm(of(name + ".bias"), x.reshape({-1, x.size(-1)}), weight);
  return rows.view({x.size(0), x.size(1), weight.size(1)});
}

/// Padding lies behind, and nothing looks ahead: it needs no mask of its own.
at::Tensor PlainLoop::attend(const at::Tensor& x, const std::string& prefix) const {
  const auto rows = x.size(0), length = x.size(1);
  const auto qkv = affine(x, prefix + "attn.c_attn")
                       .view({rows, length, 3, shape_.num_heads, shape_.head_dim})
                       .permute({2, 0, 3, 1, 4});
  const auto scores = at::matmul(qkv[0], qkv[1].transpose(2, 3)) /
                      std::sqrt(static_cast<double>(shape_.head_dim));
  const auto ahead = at::ones({length, length}, at::kBool).triu(1);
  const auto weights =
      at::softmax(scores.masked_fill(ahead, -std::numeric_limits<double>::infinity()), -1);
  const auto heads = at::matmul(weights, qkv[2]).transpose(1, 2);
  return affine(heads.reshape({rows, length, shape_.hidden_size}), prefix + "attn.c_proj");
}

at::Tensor PlainLoop::logits(const at::Tensor& ids) const {
  auto x = at::embedding(of("transformer.wte.weight"), ids) +
           at::embedding(of("transformer.wpe.weight"), at::arange(ids.size(1)));
  for (std::int64_t layer = 0; layer < shape_.num_layers; ++layer) {
    const auto prefix = "transformer.h." + std::to_string(layer) + ".";
    x = x + attend(norm(x, prefix + "ln_1"), prefix);
    const auto inner = gelu_new(affine(norm(x, prefix + "ln_2"), prefix + "mlp.c_fc"));
    x = x + affine(inner, prefix + "mlp.c_proj");
  }
  return at::matmul(norm(x, "transformer.ln_f"), of("transformer.wte.weight").t());
}

void PlainLoop::clip_gradients() {
  double squares = 0.0;
  for (const auto& [name, parameter] : parameters_) {
    squares += parameter.value.grad().square().sum().item<double>();
  }
  const double scale = std::min(1.0, kMaxNorm / (std::sqrt(squares) + 1e-6));
  for (const auto& [name, parameter] : parameters_) parameter.value.grad().mul_(scale);
}

void PlainLoop::update(Parameter& parameter) {
  auto& gradient = parameter.value.mutable_grad();
  parameter.first_moment.mul_(kBeta1).add_(gradient, 1.0 - kBeta1);
  parameter.second_moment.mul_(kBeta2).addcmul_(gradient, gradient, 1.0 - kBeta2);
  const auto updates = static_cast<double>(updates_);
  const double first = 1.0 - std::pow(kBeta1, updates), second = 1.0 - std::pow(kBeta2, updates);
  const auto width = parameter.second_moment.sqrt().div_(std::sqrt(second)).add_(kEpsilon);
  parameter.value.addcdiv_(parameter.first_moment, width, -learning_rate_ / first);
  gradient.reset();
}

double PlainLoop::step(const std::vector<std::vector<std::int64_t>>& sequences) {
  const auto ids = padded(sequences, 0);
  const auto targets = padded(sequences, kNoTarget).narrow(1, 1, ids.size(1) - 1).reshape({-1});
  const auto predictions = logits(ids).narrow(1, 0, ids.size(1) - 1);
  const auto loss = at::cross_entropy_loss(
      predictions.reshape({-1, shape_.vocab_size}), targets, /*weight=*/{}, at::Reduction::Mean,
      kNoTarget);
  loss.backward();
  const c10::NoGradGuard no_grad;
  clip_gradients();
  ++updates_;
  for (auto& [name, parameter] : parameters_) update(parameter);
  return loss.item<double>();
}

}  // namespace hone::bench

#include "hone/core/training/optimizer.hpp"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include "hone/core/model/parameter_store.hpp"

namespace hone {

AdamW::AdamW(ParameterStore& parameters, AdamWOptions options)
    : parameters_(parameters), options_(options) {
  for (const auto& group : parameters_.groups()) {
    exp_avg_.push_back(at::zeros_like(group.trained()));
    exp_avg_sq_.push_back(at::zeros_like(group.trained()));
  }
}

void AdamW::step(double learning_rate) {
  const c10::NoGradGuard no_grad;
  ++num_steps_;
  const auto groups = parameters_.groups();
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const auto& trained = groups[i].trained();
    if (trained.numel() == 0) continue;
    const auto steps =
        at::full({}, static_cast<double>(num_steps_), trained.options().dtype(at::kFloat));
    at::_fused_adamw_({trained}, {groups[i].gradients}, {exp_avg_[i]}, {exp_avg_sq_[i]},
                      {}, {steps}, learning_rate, options_.beta1, options_.beta2,
                      groups[i].decayed ? options_.weight_decay : 0.0, options_.epsilon,
                      /*amsgrad=*/false, /*maximize=*/false);
  }
}

std::vector<Optimizer::State> AdamW::state() {
  return {{"exp_avg", exp_avg_}, {"exp_avg_sq", exp_avg_sq_}};
}

Sgd::Sgd(ParameterStore& parameters, SgdOptions options)
    : parameters_(parameters), options_(options) {
  if (options_.momentum == 0) return;
  for (const auto& group : parameters_.groups()) {
    momentum_buffer_.push_back(at::zeros_like(group.trained()));
  }
}

void Sgd::step(double learning_rate) {
  const c10::NoGradGuard no_grad;
  ++num_steps_;
  const auto groups = parameters_.groups();
  for (std::size_t i = 0; i < groups.size(); ++i) {
    auto& group = groups[i];
    if (group.decayed && options_.weight_decay > 0) {
      group.gradients.add_(group.trained(), options_.weight_decay);
    }
    auto direction = group.gradients;
    if (!momentum_buffer_.empty()) {
      direction = momentum_buffer_[i].mul_(options_.momentum).add_(group.gradients);
    }
    group.trained().sub_(direction, learning_rate);
  }
}

std::vector<Optimizer::State> Sgd::state() {
  if (momentum_buffer_.empty()) return {};
  return {{"momentum_buffer", momentum_buffer_}};
}

}  // namespace hone

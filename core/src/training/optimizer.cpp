#include "hone/core/training/optimizer.hpp"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <utility>

namespace hone {
namespace {

/// A tensor of zeros for each slice.
std::vector<at::Tensor> zeros_for(const ParameterStore& parameters,
                                  std::span<const ParameterSlice> slices) {
  std::vector<at::Tensor> zeros;
  for (const auto& slice : slices) {
    const auto& trained = parameters.groups()[slice.group].trained();
    zeros.push_back(at::zeros({slice.range.count}, trained.options()));
  }
  return zeros;
}

/// The part of a slice's state that belongs to one run of it.
at::Tensor state_of(const ParameterSlice& run, const ParameterSlice& slice,
                    const at::Tensor& state) {
  return state.narrow(0, run.range.begin - slice.range.begin, run.range.count);
}

}  // namespace

AdamW::AdamW(ParameterStore& parameters, AdamWOptions options, std::vector<ParameterSlice> slices)
    : parameters_(parameters),
      options_(options),
      slices_(std::move(slices)),
      exp_avg_(zeros_for(parameters_, slices_)),
      exp_avg_sq_(zeros_for(parameters_, slices_)) {}

void AdamW::step(double learning_rate) {
  const c10::NoGradGuard no_grad;
  ++num_steps_;
  const auto groups = parameters_.groups();
  for (std::size_t i = 0; i < groups.size(); ++i) {
    std::vector<at::Tensor> values, gradients, exp_avg, exp_avg_sq, steps;
    for (std::size_t j = 0; j < slices_.size(); ++j) {
      if (slices_[j].group != i) continue;
      for (const auto& run : parameters_.trainable(slices_[j])) {
        values.push_back(run.of(groups[i].trained()));
        gradients.push_back(run.of(groups[i].gradients));
        exp_avg.push_back(state_of(run, slices_[j], exp_avg_[j]));
        exp_avg_sq.push_back(state_of(run, slices_[j], exp_avg_sq_[j]));
        steps.push_back(at::full({}, static_cast<double>(num_steps_),
                                 values.back().options().dtype(at::kFloat)));
      }
    }
    if (values.empty()) continue;
    at::_fused_adamw_(values, gradients, exp_avg, exp_avg_sq, {}, steps, learning_rate,
                      options_.beta1, options_.beta2,
                      groups[i].decayed ? options_.weight_decay : 0.0, options_.epsilon,
                      /*amsgrad=*/false, /*maximize=*/false);
  }
}

std::vector<Optimizer::State> AdamW::state() {
  return {{"exp_avg", exp_avg_}, {"exp_avg_sq", exp_avg_sq_}};
}

Sgd::Sgd(ParameterStore& parameters, SgdOptions options, std::vector<ParameterSlice> slices)
    : parameters_(parameters), options_(options), slices_(std::move(slices)) {
  if (options_.momentum != 0) momentum_buffer_ = zeros_for(parameters_, slices_);
}

void Sgd::step(double learning_rate) {
  const c10::NoGradGuard no_grad;
  ++num_steps_;
  for (std::size_t i = 0; i < slices_.size(); ++i) {
    const auto& group = parameters_.groups()[slices_[i].group];
    for (const auto& run : parameters_.trainable(slices_[i])) {
      auto values = run.of(group.trained());
      auto direction = run.of(group.gradients);
      if (group.decayed && options_.weight_decay > 0) direction.add_(values, options_.weight_decay);
      if (!momentum_buffer_.empty()) {
        direction = state_of(run, slices_[i], momentum_buffer_[i])
                        .mul_(options_.momentum)
                        .add_(direction);
      }
      values.sub_(direction, learning_rate);
    }
  }
}

std::vector<Optimizer::State> Sgd::state() {
  if (momentum_buffer_.empty()) return {};
  return {{"momentum_buffer", momentum_buffer_}};
}

}  // namespace hone

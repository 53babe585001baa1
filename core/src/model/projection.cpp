// Matrix products whose weight's gradient is added where it belongs, instead of being made beside
// it first.
#include <ATen/TensorOperators.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "hone/core/model/layers.hpp"
#include "model/kernels/decode_functions.hpp"
#include "model/products.hpp"

namespace hone {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// As autograd does behind its own accumulation.
void tell_hook(const at::Tensor& parameter) {
  const auto& hook = torch::autograd::impl::post_acc_grad_hooks(parameter);
  if (hook != nullptr) (*hook)(parameter);
}

struct Projection : torch::autograd::Function<Projection> {
  /// `outputs_first`: weight is (out, in), else (in, out).
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, bool outputs_first) {
    context->save_for_backward({x, weight, bias.value_or(at::Tensor{})});
    context->saved_data["outputs_first"] = outputs_first;
    return detail::product(x, outputs_first ? weight.t() : weight, bias.value_or(at::Tensor{}));
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &bias = saved[2];
    const auto& gradient = gradients[0];
    const bool outputs_first = context->saved_data["outputs_first"].toBool();
    if (outputs_first) {
      add_product(weight.grad(), gradient.t(), x);
    } else {
      add_product(weight.grad(), x.t(), gradient);
    }
    tell_hook(weight);
    if (bias.defined() && bias.requires_grad()) {
      bias.grad().add_(gradient.sum(0, /*keepdim=*/false, bias.grad().scalar_type()));
      tell_hook(bias);
    }
    const auto x_gradient = detail::product(gradient, outputs_first ? weight : weight.t());
    return {x_gradient, at::Tensor{}, at::Tensor{}, at::Tensor{}};
  }
};

at::Tensor project(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                   bool outputs_first) {
  const bool trains = weight.grad().defined() && weight.requires_grad() && x.requires_grad() &&
                      c10::GradMode::is_enabled();
  if (trains) {
    return Projection::apply(x, weight, bias.defined() ? std::optional{bias} : std::nullopt,
                             outputs_first);
  }
  if (outputs_first && detail::has_few_rows(x, weight, bias)) {
    return detail::products_of_few_rows(x, std::array{LinearLayer{weight, bias}}).front();
  }
  return detail::product(x, outputs_first ? weight.t() : weight, bias);
}

}  // namespace

at::Tensor linear_out_in(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return project(x, weight, bias, /*outputs_first=*/true);
}

std::vector<at::Tensor> linears_out_in(const at::Tensor& x, std::span<const LinearLayer> layers) {
  const auto has_few_rows = [&](const LinearLayer& layer) {
    return detail::has_few_rows(x, layer.weight, layer.bias);
  };
  if (std::ranges::all_of(layers, has_few_rows)) return detail::products_of_few_rows(x, layers);
  std::vector<at::Tensor> results;
  for (const auto& layer : layers) results.push_back(linear_out_in(x, layer.weight, layer.bias));
  return results;
}

at::Tensor linear_in_out(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return project(x, weight, bias, /*outputs_first=*/false);
}

}  // namespace hone

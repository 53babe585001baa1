#include "hone/core/model/layers.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/silu.h>
#include <torch/csrc/autograd/custom_function.h>

#include "model/kernels/row_functions.hpp"
#include "model/kernels/stored_type.hpp"

namespace hone {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// `weight` is passed so that autograd runs backward; its gradient is accumulated here and none is
/// returned, which leaves the preset gradient view alone.
struct EmbeddingLookup : torch::autograd::Function<EmbeddingLookup> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& weight,
                            const at::Tensor& ids, std::int64_t padding_id) {
    context->save_for_backward({ids});
    context->saved_data["gradient"] = weight.grad();
    context->saved_data["padding_id"] = padding_id;
    return at::index_select(weight, 0, ids);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto ids = context->get_saved_variables()[0];
    const auto padding_id = context->saved_data["padding_id"].toInt();
    auto gradient = gradients[0];
    if (padding_id >= 0) gradient = gradient.masked_fill(ids.eq(padding_id).unsqueeze(1), 0.0);
    auto sum = context->saved_data["gradient"].toTensor();
    sum.index_add_(0, ids, gradient.to(sum.scalar_type()));
    return {at::Tensor{}, at::Tensor{}, at::Tensor{}};
  }
};

/// Pairs (i, i + D/2) turned by the table, or back where `sign` is -1: four passes over halves, and
/// no other memory than the result's.
at::Tensor turned(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, double sign) {
  const auto out = at::empty(x.sizes(), x.options());
  const auto half = x.size(-1) / 2;
  const auto low = x.narrow(-1, 0, half), high = x.narrow(-1, half, half);
  auto out_low = out.narrow(-1, 0, half), out_high = out.narrow(-1, half, half);
  at::mul_out(out_low, low, cos).addcmul_(high, sin, -sign);
  at::mul_out(out_high, high, cos).addcmul_(low, sin, sign);
  return out;
}

/// Autograd would make each pass, and each half, anew for the gradient.
struct Rotation : torch::autograd::Function<Rotation> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin) {
    context->save_for_backward({cos, sin});
    return turned(x, cos, sin, 1.0);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {turned(gradients[0], saved[0], saved[1], -1.0), at::Tensor{}, at::Tensor{}};
  }
};

}  // namespace

at::Tensor look_up(const at::Tensor& weight, const at::Tensor& ids,
                   std::optional<std::int64_t> padding_id) {
  if (!weight.grad().defined() || !c10::GradMode::is_enabled()) {
    return at::index_select(weight, 0, ids);
  }
  return EmbeddingLookup::apply(weight, ids, padding_id.value_or(-1));
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (detail::has_kernels(x)) return detail::rms_norm_by_rows(x.contiguous(), weight, eps);
  if (x.is_cuda()) return at::rms_norm(x, weight.sizes(), weight, eps);  // one kernel each way
  const auto wide = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  const auto scale = wide.square().mean(-1, /*keepdim=*/true).add_(eps).rsqrt_();
  return (wide * scale).to(x.scalar_type()) * weight;
}

std::int64_t kept_by_rms_norm(std::int64_t width, std::int64_t element_bytes) {
  return 2 * width * element_bytes + 4;
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  if (detail::has_kernels(up)) return detail::swiglu_by_rows(gate.contiguous(), up.contiguous());
  return at::silu(gate) * up;
}

RotaryTable rotary_table(const at::Tensor& positions, const at::Tensor& inverse_frequencies,
                         at::ScalarType dtype) {
  // Angles in float32 as transformers has them, except where the model itself computes wider.
  const auto wide = dtype == at::kDouble ? at::kDouble : at::kFloat;
  const auto angles =
      positions.to(wide).unsqueeze(1) * inverse_frequencies.to(wide).unsqueeze(0);
  return {angles.cos().to(dtype), angles.sin().to(dtype)};
}

at::Tensor rotate(const at::Tensor& x, const RotaryTable& table) {
  if (detail::has_kernels(x)) return detail::rotate_by_rows(x.contiguous(), table.cos, table.sin);
  return Rotation::apply(x, table.cos.unsqueeze(1), table.sin.unsqueeze(1));
}

}  // namespace hone

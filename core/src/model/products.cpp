#include "model/products.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

#include "hone/core/model/layers.hpp"

namespace hone {
namespace detail {
namespace {

/// Numbers that are widened at a time: few enough to lie in caches' reach, enough to pay for a call.
constexpr std::int64_t kWidened = 4 << 20;

at::Tensor widened(const at::Tensor& narrow) { return narrow.to(at::kFloat); }

bool is_widened(const at::Tensor& a) {
  return a.is_cpu() && a.scalar_type() == at::kBFloat16 && !multiplies_bfloat16();
}

/// How many lines of `line` numbers are widened at once.
std::int64_t lines_at_once(std::int64_t line) {
  return std::max<std::int64_t>(1, kWidened / std::max<std::int64_t>(1, line));
}

/// Calls `function` with the begin and the length of each part of `size`, of `most` but for the last.
template <typename Function>
void for_slices(std::int64_t size, std::int64_t most, Function function) {
  for (std::int64_t begin = 0; begin < size; begin += most) {
    function(begin, std::min(most, size - begin));
  }
}

/// Of few rows libraries sum each number in one chain, and its rounding grows with its length: where
/// a vocabulary is summed over it was some 1e-5, and gradients of one short sample off by 4e-4.
constexpr std::int64_t kFewRows = 16;
constexpr std::int64_t kChain = 1024;

void product_in_short_chains(at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  out.zero_();
  for_slices(b.size(0), kChain, [&](std::int64_t begin, std::int64_t length) {
    out.add_(at::mm(a.narrow(1, begin, length), b.narrow(0, begin, length)));
  });
}

void matrix_product_into(at::Tensor& out, const at::Tensor& a, const at::Tensor& b,
                         const at::Tensor& bias) {
  const auto inner = b.size(0), columns = b.size(1);
  if (inner <= columns) {
    const auto wide = widened(a);
    for_slices(columns, lines_at_once(inner), [&](std::int64_t begin, std::int64_t length) {
      auto part = at::mm(wide, widened(b.narrow(1, begin, length)));
      if (bias.defined()) part.add_(bias.narrow(0, begin, length));
      out.narrow(1, begin, length).copy_(part);
    });
    return;
  }
  const auto sum = at::zeros(out.sizes(), out.options().dtype(at::kFloat));
  if (bias.defined()) sum.add_(bias);
  for_slices(inner, lines_at_once(std::max(columns, a.size(0))), [&](std::int64_t begin, std::int64_t length) {
    sum.addmm_(widened(a.narrow(1, begin, length)), widened(b.narrow(0, begin, length)));
  });
  out.copy_(sum);
}

void batch_product_into(at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  const auto line = std::max({a.size(1) * a.size(2), b.size(1) * b.size(2), a.size(1) * b.size(2)});
  for_slices(a.size(0), lines_at_once(line), [&](std::int64_t begin, std::int64_t length) {
    out.narrow(0, begin, length)
        .copy_(at::bmm(widened(a.narrow(0, begin, length)), widened(b.narrow(0, begin, length))));
  });
}

at::Tensor rounded_product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  auto sizes = a.sizes().vec();
  sizes.back() = b.size(-1);
  auto out = at::empty(sizes, a.options().requires_grad(false));
  if (a.dim() == 2) {
    matrix_product_into(out, a, b, bias);
  } else {
    batch_product_into(out, a, b);
  }
  return out;
}

/// Autograd would keep the widened copies: twice the memory of the factors themselves.
struct WidenedProduct : torch::autograd::Function<WidenedProduct> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& a,
                            const at::Tensor& b, const std::optional<at::Tensor>& bias) {
    context->save_for_backward({a, b});
    context->saved_data["has_bias"] = bias.has_value();
    return rounded_product(a, b, bias.value_or(at::Tensor{}));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto& gradient = gradients[0];
    torch::autograd::variable_list wanted(3);
    if (context->needs_input_grad(0)) {
      wanted[0] = rounded_product(gradient, saved[1].transpose(-2, -1), {});
    }
    if (context->needs_input_grad(1)) {
      wanted[1] = rounded_product(saved[0].transpose(-2, -1), gradient, {});
    }
    const bool has_bias = context->saved_data["has_bias"].toBool();
    if (has_bias && context->needs_input_grad(2)) wanted[2] = gradient.sum(0);
    return wanted;
  }
};

}  // namespace

at::Tensor widened_product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  const auto wants_gradient = [](const at::Tensor& x) { return x.defined() && x.requires_grad(); };
  if (c10::GradMode::is_enabled() &&
      (wants_gradient(a) || wants_gradient(b) || wants_gradient(bias))) {
    return WidenedProduct::apply(a, b, bias.defined() ? std::optional{bias} : std::nullopt);
  }
  return rounded_product(a, b, bias);
}

void add_widened_product(const at::Tensor& sum, const at::Tensor& a, const at::Tensor& b) {
  const auto wide = widened(b);
  for_slices(a.size(0), lines_at_once(a.size(1)), [&](std::int64_t begin, std::int64_t length) {
    sum.narrow(0, begin, length).addmm_(widened(a.narrow(0, begin, length)), wide);
  });
}

at::Tensor product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  if (is_widened(a)) return widened_product(a, b, bias);
  return bias.defined() ? at::addmm(bias, a, b) : at::mm(a, b);
}

void product_into(at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  if (is_widened(a)) {
    matrix_product_into(out, a, b, {});
  } else if (a.is_cpu() && a.scalar_type() == at::kFloat && a.size(0) <= kFewRows) {
    product_in_short_chains(out, a, b);
  } else {
    at::mm_out(out, a, b);
  }
}

at::Tensor batch_product(const at::Tensor& a, const at::Tensor& b) {
  return is_widened(a) ? widened_product(a, b) : at::bmm(a, b);
}

}  // namespace detail

bool multiplies_bfloat16() {
#if defined(__x86_64__)
  static const bool has_avx512 = __builtin_cpu_supports("avx512bw") &&
                                 __builtin_cpu_supports("avx512vl") &&
                                 __builtin_cpu_supports("avx512dq");
  return has_avx512;
#else
  return true;
#endif
}

void add_product(const at::Tensor& sum, const at::Tensor& a, const at::Tensor& b) {
  if (detail::is_widened(a) && sum.scalar_type() == at::kFloat) {
    detail::add_widened_product(sum, a, b);
  } else if (!detail::is_widened(a) && sum.scalar_type() == a.scalar_type()) {
    sum.addmm_(a, b);
  } else if (sum.is_cuda()) {  // in one go, and never rounded to the narrower type
    auto out = sum;
    at::addmm_out(out, sum, a, b, sum.scalar_type());
  } else {
    sum.add_(detail::product(a, b));
  }
}

}  // namespace hone

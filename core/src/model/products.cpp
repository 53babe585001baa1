#include "model/products.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>

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

/// Calls `function` with the begin and the length of each part of `size` whose lines of `line`
/// numbers are widened at once.
template <typename Function>
void for_slices(std::int64_t size, std::int64_t line, Function function) {
  const auto length = std::max<std::int64_t>(1, kWidened / std::max<std::int64_t>(1, line));
  for (std::int64_t begin = 0; begin < size; begin += length) {
    function(begin, std::min(length, size - begin));
  }
}

}  // namespace

void widened_product_into(at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  const auto inner = b.size(0), columns = b.size(1);
  if (inner <= columns) {
    const auto wide = widened(a);
    for_slices(columns, inner, [&](std::int64_t begin, std::int64_t length) {
      out.narrow(1, begin, length).copy_(at::mm(wide, widened(b.narrow(1, begin, length))));
    });
    return;
  }
  const auto sum = at::zeros(out.sizes(), out.options().dtype(at::kFloat));
  for_slices(inner, std::max(columns, a.size(0)), [&](std::int64_t begin, std::int64_t length) {
    sum.addmm_(widened(a.narrow(1, begin, length)), widened(b.narrow(0, begin, length)));
  });
  out.copy_(sum);
}

void add_widened_product(const at::Tensor& sum, const at::Tensor& a, const at::Tensor& b) {
  const auto wide = widened(b);
  for_slices(a.size(0), a.size(1), [&](std::int64_t begin, std::int64_t length) {
    sum.narrow(0, begin, length).addmm_(widened(a.narrow(0, begin, length)), wide);
  });
}

at::Tensor product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  if (!is_widened(a)) return bias.defined() ? at::addmm(bias, a, b) : at::mm(a, b);
  if (bias.defined()) return at::addmm(widened(bias), widened(a), widened(b)).to(a.scalar_type());
  const bool wants_gradient =
      c10::GradMode::is_enabled() && (a.requires_grad() || b.requires_grad());
  if (wants_gradient) return at::mm(widened(a), widened(b)).to(a.scalar_type());
  auto out = at::empty({a.size(0), b.size(1)}, a.options());
  widened_product_into(out, a, b);
  return out;
}

void product_into(at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  if (is_widened(a)) {
    widened_product_into(out, a, b);
  } else {
    at::mm_out(out, a, b);
  }
}

at::Tensor batch_product(const at::Tensor& a, const at::Tensor& b) {
  if (!is_widened(a)) return at::bmm(a, b);
  return at::bmm(widened(a), widened(b)).to(a.scalar_type());
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

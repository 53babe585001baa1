#include "model/kernels/row_functions.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "model/kernels/kernels.hpp"
#include "model/kernels/stored_type.hpp"

namespace hone::detail {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Numbers that a thread takes at once at least: less is not worth waking it.
constexpr std::int64_t kGrain = 16 * 1024;

/// Runs `work(first, last)` over parts of the rows.
template <typename Work>
void over_rows(std::int64_t rows, std::int64_t width, Work work) {
  at::parallel_for(0, rows, std::max<std::int64_t>(1, kGrain / width), work);
}

/// Shape: `scales` (N), for the backward pass; undefined where there is none.
at::Tensor normalized(const at::Tensor& x, const at::Tensor& weight, double eps,
                      at::Tensor scales) {
  RECORD_FUNCTION("hone::rms_norm", c10::ArrayRef<const c10::IValue>{});
  const auto rows = x.size(0), width = x.size(1);
  auto out = at::empty_like(x);
  with_stored_type(x, [&]<typename T>(T) {
    const auto& kernels = detail::kernels<T>().rows;
    auto* const scale_of = scales.defined() ? data<float>(scales) : nullptr;
    over_rows(rows, width, [&](std::int64_t first, std::int64_t last) {
      for (auto row = first; row < last; ++row) {
        const float scale =
            kernels.rms_norm(data<T>(x) + row * width, data<T>(weight), static_cast<float>(eps),
                             width, data<T>(out) + row * width);
        if (scale_of != nullptr) scale_of[row] = scale;
      }
    });
  });
  return out;
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight, double eps) {
    auto scales = at::empty({x.size(0)}, x.options().dtype(at::kFloat));
    context->save_for_backward({x, weight, scales});
    return normalized(x, weight, eps, scales);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &scales = saved[2];
    const auto gradient = gradients[0].contiguous();
    const auto rows = x.size(0), width = x.size(1);
    auto x_gradient = at::empty_like(x);
    // A row of sums for each thread, added in their order.
    auto sums = at::zeros({at::get_num_threads(), width}, scales.options());
    with_stored_type(x, [&]<typename T>(T) {
      const auto& kernels = detail::kernels<T>().rows;
      over_rows(rows, width, [&](std::int64_t first, std::int64_t last) {
        auto* const sum = data<float>(sums) + at::get_thread_num() * width;
        for (auto row = first; row < last; ++row) {
          const auto at = row * width;
          kernels.rms_norm_backward(data<T>(x) + at, data<T>(weight), data<float>(scales)[row],
                                    data<T>(gradient) + at, width, data<T>(x_gradient) + at, sum);
        }
      });
    });
    return {x_gradient, sums.sum(0), at::Tensor{}};
  }
};

at::Tensor gated(const at::Tensor& gate, const at::Tensor& up) {
  RECORD_FUNCTION("hone::swiglu", c10::ArrayRef<const c10::IValue>{});
  auto out = at::empty_like(up);
  with_stored_type(up, [&]<typename T>(T) {
    const auto& kernels = detail::kernels<T>().rows;
    at::parallel_for(0, up.numel(), kGrain, [&](std::int64_t first, std::int64_t last) {
      kernels.swiglu(data<T>(gate) + first, data<T>(up) + first, last - first,
                     data<T>(out) + first);
    });
  });
  return out;
}

struct Swiglu : torch::autograd::Function<Swiglu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate,
                            const at::Tensor& up) {
    context->save_for_backward({gate, up});
    return gated(gate, up);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &gate = saved[0], &up = saved[1];
    const auto gradient = gradients[0].contiguous();
    auto gate_gradient = at::empty_like(gate), up_gradient = at::empty_like(up);
    with_stored_type(up, [&]<typename T>(T) {
      const auto& kernels = detail::kernels<T>().rows;
      at::parallel_for(0, up.numel(), kGrain, [&](std::int64_t first, std::int64_t last) {
        kernels.swiglu_backward(data<T>(gate) + first, data<T>(up) + first,
                                data<T>(gradient) + first, last - first,
                                data<T>(gate_gradient) + first, data<T>(up_gradient) + first);
      });
    });
    return {gate_gradient, up_gradient};
  }
};

at::Tensor rotated(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, float sign) {
  RECORD_FUNCTION("hone::rotate", c10::ArrayRef<const c10::IValue>{});
  const auto rows = x.size(0), heads = x.size(1), half = x.size(2) / 2;
  auto out = at::empty_like(x);
  with_stored_type(x, [&]<typename T>(T) {
    const auto& kernels = detail::kernels<T>().rows;
    over_rows(rows, heads * half * 2, [&](std::int64_t first, std::int64_t last) {
      for (auto row = first; row < last; ++row) {
        const auto at = row * heads * half * 2;
        kernels.rotate(data<T>(x) + at, data<T>(cos) + row * half, data<T>(sin) + row * half, sign,
                       heads, half, data<T>(out) + at);
      }
    });
  });
  return out;
}

struct Rotate : torch::autograd::Function<Rotate> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin) {
    context->save_for_backward({cos, sin});
    return rotated(x, cos, sin, 1.0F);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {rotated(gradients[0].contiguous(), saved[0], saved[1], -1.0F), at::Tensor{},
            at::Tensor{}};
  }
};

}  // namespace

at::Tensor rms_norm_by_rows(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (!c10::GradMode::is_enabled()) return normalized(x, weight, eps, {});
  return RmsNorm::apply(x, weight, eps);
}

at::Tensor swiglu_by_rows(const at::Tensor& gate, const at::Tensor& up) {
  if (!c10::GradMode::is_enabled()) return gated(gate, up);
  return Swiglu::apply(gate, up);
}

at::Tensor cross_entropy_by_rows(at::Tensor& logits, const at::Tensor& targets, double smoothing,
                                 const at::Tensor& factors) {
  RECORD_FUNCTION("hone::cross_entropy", c10::ArrayRef<const c10::IValue>{});
  const auto rows = logits.size(0), width = logits.size(1);
  auto losses = at::empty({rows}, logits.options().dtype(at::kDouble));
  auto* const loss = losses.mutable_data_ptr<double>();
  const auto* const target = targets.const_data_ptr<std::int64_t>();
  const auto* const factor = factors.defined() ? factors.const_data_ptr<double>() : nullptr;
  with_stored_type(logits, [&]<typename T>(T) {
    const auto& kernels = detail::kernels<T>().rows;
    over_rows(rows, width, [&](std::int64_t first, std::int64_t last) {
      for (auto row = first; row < last; ++row) {
        loss[row] = kernels.cross_entropy(data<T>(logits) + row * width, width, target[row],
                                          smoothing, factor == nullptr ? nullptr : factor + row);
      }
    });
  });
  return losses;
}

at::Tensor rotate_by_rows(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  if (!c10::GradMode::is_enabled()) return rotated(x, cos, sin, 1.0F);
  return Rotate::apply(x, cos, sin);
}

}  // namespace hone::detail

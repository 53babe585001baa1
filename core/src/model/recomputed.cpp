#include "hone/core/model/recomputed.hpp"

#include <ATen/core/ivalue.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <stdexcept>
#include <utility>

#include "hone/core/model/language_model.hpp"

namespace hone {
namespace {

using Function = std::function<at::Tensor(const at::Tensor&)>;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A function where autograd keeps values.
struct HeldFunction final : torch::CustomClassHolder {
  explicit HeldFunction(Function function) : function(std::move(function)) {}
  Function function;
};

struct Recomputed : torch::autograd::Function<Recomputed> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const c10::intrusive_ptr<HeldFunction>& block) {
    context->save_for_backward({x});
    context->saved_data["block"] = c10::IValue::make_capsule(block);
    return block->function(x);  // autograd does not record in here
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto x = context->get_saved_variables()[0].detach().requires_grad_(true);
    const auto held = context->saved_data["block"].toCapsule();
    const c10::AutoGradMode recording{true};
    const auto y = static_cast<HeldFunction&>(*held).function(x);
    torch::autograd::backward({y}, {gradients[0]});
    return {x.grad(), at::Tensor{}};
  }
};

}  // namespace

at::Tensor recomputed(const at::Tensor& x, Function block) {
  if (!c10::GradMode::is_enabled() || !x.requires_grad()) return block(x);
  return Recomputed::apply(x, c10::make_intrusive<HeldFunction>(std::move(block)));
}

EncodedSource LanguageModel::encode(const TokenInput&, std::span<const std::int64_t>) {
  throw std::logic_error{shape().model_type + " has no encoder"};
}

std::vector<BlockStack> LanguageModel::stacks(std::int64_t, bool) const {
  throw std::logic_error{shape().model_type + " does not say what its blocks keep"};
}

at::Tensor LanguageModel::run_block(const at::Tensor& x, Function block) const {
  return gradient_checkpointing_ ? recomputed(x, std::move(block)) : block(x);
}

}  // namespace hone

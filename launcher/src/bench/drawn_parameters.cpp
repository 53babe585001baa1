#include "bench/drawn_parameters.hpp"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include "hone/core/model/language_model.hpp"

namespace hone::launcher {

void draw_parameters(LanguageModel& model) {
  const c10::NoGradGuard no_grad;
  // With a seed of its own: equal on all ranks.
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(/*seed=*/1);
  for (std::size_t i = 0; i < model.parameters().all().size(); ++i) {
    const auto values = model.parameters().trained(i).detach();
    if (values.is_cpu()) {
      values.uniform_(-0.03, 0.03, generator);
    } else {  // the same numbers wherever they go
      const auto on_host = values.options().device(at::kCPU);
      values.copy_(at::empty(values.sizes(), on_host).uniform_(-0.03, 0.03, generator));
    }
  }
  model.parameters().round_masters();
}

}  // namespace hone::launcher

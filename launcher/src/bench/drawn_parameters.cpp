#include "bench/drawn_parameters.hpp"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include "hone/core/model/language_model.hpp"

namespace hone::launcher {

void draw_parameters(LanguageModel& model) {
  const c10::NoGradGuard no_grad;
  // With a seed of its own: equal on all ranks.
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(/*seed=*/1);
  for (std::size_t i = 0; i < model.parameters().all().size(); ++i) {
    model.parameters().trained(i).detach().uniform_(-0.03, 0.03, generator);
  }
  model.parameters().round_masters();
}

}  // namespace hone::launcher

#include "training/gradient_norm.hpp"

#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>

#include <vector>

namespace hone::detail {

double norm_of_gradients(const ParameterStore& parameters, std::span<const ParameterSlice> slices) {
  // Blocks keep the float32 sums short; their results add up in float64.
  constexpr std::int64_t kBlock = std::int64_t{1} << 16;
  std::vector<at::Tensor> norms;
  for (const auto& slice : slices) {
    const auto gradients = slice.of(parameters.groups()[slice.group].gradients);
    for (const auto& block : gradients.split(kBlock)) {
      norms.push_back(at::linalg_vector_norm(block));
    }
  }
  if (norms.empty()) return 0.0;
  return at::linalg_vector_norm(at::stack(norms), /*ord=*/2, /*dim=*/at::OptionalIntArrayRef{},
                                /*keepdim=*/false, at::kDouble)
      .item<double>();
}

}  // namespace hone::detail

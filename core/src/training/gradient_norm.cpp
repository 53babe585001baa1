#include "training/gradient_norm.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <vector>

namespace hone::detail {

double norm_of_gradients(const ParameterStore& parameters, std::span<const ParameterSlice> slices) {
  // Blocks keep the float32 sums short; their results add up in float64. One call for all whole
  // blocks: a GPU would wait for thousands of them.
  constexpr std::int64_t kBlock = std::int64_t{1} << 16;
  std::vector<at::Tensor> norms;
  for (const auto& slice : slices) {
    const auto gradients = slice.of(parameters.groups()[slice.group].gradients);
    const auto whole = gradients.numel() / kBlock * kBlock;
    if (whole > 0) {
      const auto blocks = gradients.narrow(0, 0, whole).view({-1, kBlock});
      norms.push_back(at::linalg_vector_norm(blocks, /*ord=*/2, /*dim=*/1));
    }
    const auto rest = gradients.narrow(0, whole, gradients.numel() - whole);
    if (rest.numel() > 0) norms.push_back(at::linalg_vector_norm(rest).view({1}));
  }
  if (norms.empty()) return 0.0;
  return at::linalg_vector_norm(at::cat(norms), /*ord=*/2, /*dim=*/at::OptionalIntArrayRef{},
                                /*keepdim=*/false, at::kDouble)
      .item<double>();
}

}  // namespace hone::detail

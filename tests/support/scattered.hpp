#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>

namespace hone::testing {

/// Numbers in [-1, 1] without a pattern, the same each time. Shape: as asked, float64.
inline at::Tensor scattered(at::IntArrayRef shape, double salt = 0.0) {
  const auto places = at::arange(c10::multiply_integers(shape), at::kDouble) * 12.9898 + salt;
  return (places.sin() * 43758.5453).sin().view(shape);
}

}  // namespace hone::testing

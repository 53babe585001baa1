#pragma once

#include <ATen/core/Tensor.h>

#include "hone/core/dtype.hpp"
#include "hone/core/gradient_reducer.hpp"

namespace hone::detail {

/// The element type that raw buffers of a parameter-like tensor have.
inline DType dtype_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kDouble: return DType::Float64;
    case at::kBFloat16: return DType::BFloat16;
    case at::kHalf: return DType::Float16;
    default: return DType::Float32;
  }
}

/// A group's flat tensor as ranks exchange it.
inline FlatBuffer buffer_of(const at::Tensor& flat) {
  return {flat.mutable_data_ptr(), flat.numel(), dtype_of(flat)};
}

}  // namespace hone::detail

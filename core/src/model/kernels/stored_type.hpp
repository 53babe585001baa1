#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace hone::detail {

/// Whether there are kernels for such a tensor: float32 or bfloat16 in host memory.
inline bool has_kernels(const at::Tensor& x) {
  return x.device().is_cpu() &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

/// Calls `function` with a value of the type that kernels have for what `tensor` stores.
template <typename Function>
void with_stored_type(const at::Tensor& tensor, Function function) {
  if (tensor.scalar_type() == at::kFloat) {
    function(float{});
  } else {
    function(std::uint16_t{});
  }
}

template <typename T>
const T* data(const at::Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}
template <typename T>
T* data(at::Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

}  // namespace hone::detail

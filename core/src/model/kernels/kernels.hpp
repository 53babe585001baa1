#pragma once

#include <span>

#include "model/kernels/attention_kernels.hpp"
#include "model/kernels/decode_kernels.hpp"
#include "model/kernels/row_kernels.hpp"

namespace hone::detail {

/// Loops over numbers that lie one behind another, all in float. T is float, or std::uint16_t for
/// the bits of a bfloat16.
template <typename T>
struct Kernels {
  RowKernels<T> rows;
  DecodeKernels<T> decode;
  AttentionKernels<T> attention;
};

/// Those that this processor can run, of the widest vectors first.
template <typename T>
std::span<const Kernels<T>* const> usable_kernels();

/// Those for the widest vectors.
template <typename T>
const Kernels<T>& kernels() {
  static const Kernels<T>& widest = *usable_kernels<T>().front();
  return widest;
}

}  // namespace hone::detail

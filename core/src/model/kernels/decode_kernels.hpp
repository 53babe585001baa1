#pragma once

#include <cstdint>

namespace hone::detail {

/// What decoding does with much memory for few rows: weights, keys and values come from memory
/// once, as they are stored, and numbers are summed up in float. No sum's order depends on how many
/// rows there are.
template <typename T>
struct DecodeKernels {
  /// A row as the loops below multiply it, which is the variant's own matter. Shape: both (count).
  void (*unpack)(const T* x, std::int64_t count, float* out);

  /// out[r][n] = bias[n] + sum over i of x[r][i] weight[n][i]. Shape: x (rows, inner) unpacked,
  /// weight (outputs, inner), bias (outputs) or null, out (rows, outputs) of a wider matrix whose
  /// rows are `out_stride` apart.
  void (*product)(const float* x, std::int64_t rows, const T* weight, const T* bias,
                  std::int64_t inner, std::int64_t outputs, T* out, std::int64_t out_stride);

  /// Attention of `group` queries, all of one token, over the same keys and values, one at least.
  /// `added` to the scores, or null.
  /// Shape: q and out (group, dim), keys and values (length, dim), added (group, length) with rows
  /// `added_stride` apart, scratch (group * (2 dim + length)).
  void (*attend)(const T* q, const T* keys, const T* values, std::int64_t group,
                 std::int64_t length, std::int64_t dim, float scale, const float* added,
                 std::int64_t added_stride, float* scratch, T* out);
};

}  // namespace hone::detail

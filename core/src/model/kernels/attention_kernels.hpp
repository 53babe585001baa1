#pragma once

#include <cstdint>

namespace hone::detail {

/// Where the rows of one head lie: row i is `dim` numbers at `data + i * stride`.
template <typename T>
struct HeadRows {
  T* data = nullptr;
  std::int64_t stride = 0;

  T* row(std::int64_t i) const { return data + i * stride; }
  HeadRows head(std::int64_t h, std::int64_t dim) const { return {data + h * dim, stride}; }
};

/// One sequence's query heads that share a key head. `q` is at the first of these heads; the others
/// follow, `dim` numbers apart. So do outputs and gradients.
template <typename T>
struct AttentionTask {
  HeadRows<const T> q, k, v;
  std::int64_t length = 0, dim = 0, group = 1;
  float scale = 1.0F;
};

template <typename T>
struct AttentionGradients {
  HeadRows<const T> out, of_out;  ///< the output, and the gradient that came down to it
  HeadRows<T> of_q, of_k, of_v;
};

/// Causal attention in training and prefill. Scores are made, used and forgotten by blocks that fit
/// into the processor's caches, and what a token must not see is hardly computed. All sums are of
/// float, in an order that depends on the sequence alone.
template <typename T>
struct AttentionKernels {
  /// Numbers of float that the two functions below need to work in.
  std::int64_t (*scratch)(std::int64_t length, std::int64_t dim);

  /// Shape: `normalizers` (group, length) with rows `normalizers_stride` apart: the logarithms of
  /// what a query's weights were divided by.
  void (*forward)(const AttentionTask<T>& task, float* scratch, HeadRows<T> out,
                  float* normalizers, std::int64_t normalizers_stride);
  void (*backward)(const AttentionTask<T>& task, float* scratch, const float* normalizers,
                   std::int64_t normalizers_stride, const AttentionGradients<T>& gradients);
};

}  // namespace hone::detail

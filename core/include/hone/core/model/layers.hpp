#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace hone {

/// Rows of `weight`; the gradient is added into weight's own gradient view where ids point, so that
/// no dense (vocab, hidden) gradient is built per micro-batch.
/// Shape: weight (V, C), ids (N); returns (N, C). Rows of `padding_id` get no gradient from here.
/// Source: torch.nn.Embedding(padding_idx).
at::Tensor look_up(const at::Tensor& weight, const at::Tensor& ids,
                   std::optional<std::int64_t> padding_id);

/// x * rsqrt(mean(x^2) + eps) in at least float32, cast back, times weight. Shape: (N, C).
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// Units: bytes of a token that autograd keeps of rms_norm and of the product behind it: x in at least float32, x
/// normalized, and the result.
std::int64_t kept_by_rms_norm(std::int64_t width, std::int64_t element_bytes);

/// Rotary position embedding's angles, by position. Units: none (cosines and sines).
struct RotaryTable {
  at::Tensor cos;  ///< (N, 1, D)
  at::Tensor sin;  ///< (N, 1, D), the first half negated: see rotate()
};

/// Shape: positions (N), inverse_frequencies (D/2) float64; the table has `options`' dtype.
RotaryTable rotary_table(const at::Tensor& positions, const at::Tensor& inverse_frequencies,
                         at::ScalarType dtype);

/// Half-rotation of pairs (i, i + D/2). Shape: x (N, H, D). Source: transformers' rotate_half.
at::Tensor rotate(const at::Tensor& x, const RotaryTable& table);

}  // namespace hone

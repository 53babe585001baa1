#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace hone {

/// Rows of `weight`; the gradient is added into weight's own gradient view where ids point, so that
/// no dense (vocab, hidden) gradient is built per micro-batch.
/// Shape: weight (V, C), ids (N); returns (N, C). Rows of `padding_id` get no gradient from here.
/// Source: torch.nn.Embedding(padding_idx).
at::Tensor look_up(const at::Tensor& weight, const at::Tensor& ids,
                   std::optional<std::int64_t> padding_id);

/// x times weight's transpose, plus a bias where there is one. Where the weight is trained its
/// gradient is added into its gradient view by the product that makes it.
/// Shape: x (N, in), weight (out, in), bias (out) or undefined; returns (N, out).
at::Tensor linear_out_in(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

/// Shape: weight (out, in), bias (out) or undefined.
struct LinearLayer {
  at::Tensor weight, bias;
};

/// linear_out_in() by each of some layers for the same x. For few rows, when generating, threads
/// share the weights of all of them at once.
/// Shape: x (N, in); returns one (N, out) for each layer.
std::vector<at::Tensor> linears_out_in(const at::Tensor& x, std::span<const LinearLayer> layers);

/// linear_out_in() for weights as GPT-2 has them: (in, out). Source: transformers' Conv1D.
at::Tensor linear_in_out(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// Whether LibTorch hands bfloat16 products to a library on this processor: oneDNN wants AVX-512.
/// Else models compute theirs in float32, and round them once.
bool multiplies_bfloat16();

/// sum += a b, where sum may be wider than both.
void add_product(const at::Tensor& sum, const at::Tensor& a, const at::Tensor& b);

/// x * rsqrt(mean(x^2) + eps) in at least float32, cast back, times weight; on GPUs cast back after
/// that. Shape: (N, C).
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// Units: bytes of a token that autograd keeps of rms_norm and of the product behind it: x, its
/// scale, and the result.
std::int64_t kept_by_rms_norm(std::int64_t width, std::int64_t element_bytes);

/// silu(gate) up: the gated half of a Llama's MLP. Shape: both (N, C).
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

/// Rotary position embedding's angles, by position. Units: none (cosines and sines).
struct RotaryTable {
  at::Tensor cos;  ///< (N, D/2)
  at::Tensor sin;  ///< (N, D/2)
};

/// Shape: positions (N), inverse_frequencies (D/2) float64; the table has `options`' dtype.
RotaryTable rotary_table(const at::Tensor& positions, const at::Tensor& inverse_frequencies,
                         at::ScalarType dtype);

/// Half-rotation of pairs (i, i + D/2). Shape: x (N, H, D). Source: transformers' rotate_half.
at::Tensor rotate(const at::Tensor& x, const RotaryTable& table);

}  // namespace hone

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace hone {

/// Which tokens see which: the one thing in which training, prefill and cached decoding differ.
/// A model computes projections for all tokens together and hands them over layer by layer.
class Attention {
 public:
  virtual ~Attention() = default;

  /// Shape: q (N, H, D); k, v (N, K, D) with H a multiple of K (each key/value head serves H/K
  /// neighbouring query heads); returns (N, H, D), contiguous.
  virtual at::Tensor attend(std::int64_t layer, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, double scale) = 0;
};

/// Attention of one sequence's tokens over its own keys, each token up to itself. Differentiable.
/// Shape: q (L, H, D), k and v (L, K, D); returns (L, H, D), contiguous.
class CausalAttention {
 public:
  at::Tensor operator()(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        double scale);

 private:
  at::Tensor by_products(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         double scale);
  at::Tensor mask_;  ///< of the longest short sequence; its corner serves all
};

/// Sequences lie one behind another, and each token sees its own sequence up to itself: what a
/// padded batch with a causal mask computes, without the padding. Differentiable.
class SegmentedCausalAttention final : public Attention {
 public:
  /// `lengths` of the sequences, in tokens, none zero; they sum to N.
  explicit SegmentedCausalAttention(std::vector<std::int64_t> lengths)
      : lengths_(std::move(lengths)) {}

  at::Tensor attend(std::int64_t layer, const at::Tensor& q, const at::Tensor& k,
                    const at::Tensor& v, double scale) override;

 private:
  std::vector<std::int64_t> lengths_;
  CausalAttention causal_attention_;
};

}  // namespace hone

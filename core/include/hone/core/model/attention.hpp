#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

namespace hone {

class Dropout;

/// Added to scores by how far a key is from its query.
class PositionBias {
 public:
  virtual ~PositionBias() = default;
  /// Shape: offsets (M) int64, the key's position minus the query's; returns (H, M).
  virtual at::Tensor operator()(const at::Tensor& offsets) const = 0;
};

/// How weights follow from queries and keys.
struct ScoreRule {
  double scale = 1.0;
  const PositionBias* bias = nullptr;  ///< null: none
  double dropout = 0.0;                ///< share of the weights, in training
  std::int64_t dropout_site = 0;
};

/// What an encoder made of texts that lie one behind another.
struct EncodedSource {
  at::Tensor states;  ///< (sum of lengths, hidden)
  std::vector<std::int64_t> lengths;
};

/// Keys and values of encoded states. Shape: states (N, hidden); returns two of (N, H, D).
using SourceProjection = std::function<std::pair<at::Tensor, at::Tensor>(const at::Tensor& states)>;

/// Which tokens see which: the one thing in which training, prefill and cached decoding differ.
/// A model computes projections for all tokens together and hands them over layer by layer.
class Attention {
 public:
  virtual ~Attention() = default;

  /// Shape: q (N, H, D); k, v (N, K, D) with H a multiple of K (each key/value head serves H/K
  /// neighbouring query heads); returns (N, H, D), contiguous.
  virtual at::Tensor attend(std::int64_t layer, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const ScoreRule& rule) = 0;

  /// Every token over the whole source of its sequence, which `project` makes keys and values of
  /// where they are not at hand already. Shape: q (N, H, D); returns the same.
  /// Throws: std::logic_error where there is no source.
  virtual at::Tensor attend_source(std::int64_t layer, const at::Tensor& q,
                                   const SourceProjection& project, const ScoreRule& rule);
};

/// Weights, once they are made, on their way to the values.
using WeightFilter = std::function<at::Tensor(const at::Tensor&)>;

/// Attention by plain products, the scores in memory as a whole. Differentiable.
/// Shape: q (L, H, D); k, v (T, K, D); `added` to the scores: (H or 1, L, T), or undefined; returns
/// (L, H, D), contiguous.
at::Tensor attend_by_products(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              double scale, const at::Tensor& added,
                              const WeightFilter& filter = nullptr);

/// Each token over all of its own sequence: an encoder's attention. Differentiable.
/// Shape: q, k, v (sum of lengths, H, D); returns the same. `dropout` may be null.
at::Tensor full_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          std::span<const std::int64_t> lengths, const ScoreRule& rule,
                          const Dropout* dropout);

/// Attention as far as memory goes.
struct AttentionSizes {
  std::int64_t length = 0;  ///< tokens of a sequence
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t element_bytes = 4;
  bool on_gpu = false;
  bool is_causal = true;
  bool has_bias = false, has_dropout = false;
};

/// Units: bytes that autograd keeps of it for the backward pass, queries, keys and values included.
struct AttentionKept {
  std::int64_t of_token = 0;
  std::int64_t of_pair = 0;  ///< of a query and a key of one sequence
};

AttentionKept kept_by_attention(const AttentionSizes& sizes);

/// Attention of one sequence's tokens over its own keys, each token up to itself. Differentiable.
/// Shape: q (L, H, D), k and v (L, K, D); returns (L, H, D), contiguous.
class CausalAttention {
 public:
  at::Tensor operator()(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const ScoreRule& rule, const WeightFilter& filter = nullptr);

 private:
  /// What is added to the scores: -inf where a key comes after its query. Shape: (1, length,
  /// length).
  at::Tensor mask(std::int64_t length, const at::TensorOptions& options);

  at::Tensor mask_;  ///< of the longest sequence so far that needed one; its corner serves all
};

/// Sequences lie one behind another, and each token sees its own sequence up to itself: what a
/// padded batch with a causal mask computes, without the padding. Differentiable.
class SegmentedCausalAttention final : public Attention {
 public:
  /// `lengths` of the sequences, in tokens, none zero; they sum to N. `source`: one text for each
  /// sequence, for models that have an encoder. `dropout` (null: none) must outlive the backward
  /// pass.
  explicit SegmentedCausalAttention(std::vector<std::int64_t> lengths, EncodedSource source = {},
                                    const Dropout* dropout = nullptr)
      : lengths_(std::move(lengths)), source_(std::move(source)), dropout_(dropout) {}

  at::Tensor attend(std::int64_t layer, const at::Tensor& q, const at::Tensor& k,
                    const at::Tensor& v, const ScoreRule& rule) override;
  at::Tensor attend_source(std::int64_t layer, const at::Tensor& q, const SourceProjection& project,
                           const ScoreRule& rule) override;

 private:
  std::vector<std::int64_t> lengths_;
  EncodedSource source_;
  const Dropout* dropout_;
  CausalAttention causal_attention_;
  at::Tensor bounds_;  ///< of the sequences, on a GPU that has a kernel for all of them
};

}  // namespace hone

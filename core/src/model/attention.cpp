#include "hone/core/model/attention.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/flip.h>
#include <ATen/ops/full.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/split_with_sizes.h>

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "hone/core/model/dropout.hpp"
#include "model/kernels/stored_type.hpp"
#include "model/packed_attention.hpp"
#include "model/products.hpp"
#include "model/varlen_attention.hpp"

namespace hone {
namespace {

/// Units: tokens. Up to here one sequence's scores go through memory, beyond they would be most of
/// what is there. Not measured: only GPUs and float64 come here.
constexpr std::int64_t kShortSequence = 96;

/// Key/value heads play the batch, the query heads that share one play the heads: a stride of zero
/// repeats the keys without a copy.
at::Tensor by_flash(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale) {
  const auto length = q.size(0), heads = q.size(1), dim = q.size(2), kv_heads = k.size(1);
  const auto group = heads / kv_heads;
  const auto spread = [&](const at::Tensor& x) {
    return x.transpose(0, 1).unsqueeze(1).expand({kv_heads, group, length, dim});
  };
  const auto queries = q.view({length, kv_heads, group, dim}).permute({1, 2, 0, 3});
  const auto out = at::scaled_dot_product_attention(queries, spread(k), spread(v), {}, 0.0,
                                                    /*is_causal=*/true, scale);
  return out.permute({2, 0, 1, 3}).contiguous().view({length, heads, dim});
}

/// What `rule` adds to the scores of one sequence over itself. Shape: returns (H, length, length).
at::Tensor bias_of(const ScoreRule& rule, std::int64_t length, const at::TensorOptions& options) {
  // Only 2 length - 1 distances are different: query i looks at the window that begins at -i.
  const auto offsets = at::arange(1 - length, length, options.dtype(at::kLong).requires_grad(false));
  return (*rule.bias)(offsets).unfold(1, length, 1).flip({1});
}

WeightFilter filter_of(const Dropout* dropout, std::size_t sequence, const ScoreRule& rule) {
  if (dropout == nullptr || rule.dropout == 0.0) return nullptr;
  return [=](const at::Tensor& weights) {
    return dropout->of_sequence(sequence, weights, rule.dropout, rule.dropout_site);
  };
}

/// Runs `attend_one` for each sequence on its own rows. split_with_sizes has one backward for all
/// pieces; narrow would fill a full-size gradient each.
template <typename AttendOne>
at::Tensor by_sequence(std::span<const std::int64_t> lengths, const at::Tensor& q,
                       std::span<const std::int64_t> key_lengths, const at::Tensor& k,
                       const at::Tensor& v, AttendOne&& attend_one) {
  if (lengths.size() == 1) return attend_one(0, q, k, v);
  const auto sizes = [](std::span<const std::int64_t> s) {
    return at::IntArrayRef{s.data(), s.size()};
  };
  const auto qs = at::split_with_sizes(q, sizes(lengths));
  const auto ks = at::split_with_sizes(k, sizes(key_lengths));
  const auto vs = at::split_with_sizes(v, sizes(key_lengths));
  std::vector<at::Tensor> outputs;
  outputs.reserve(lengths.size());
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    outputs.push_back(attend_one(i, qs[i], ks[i], vs[i]));
  }
  return at::cat(outputs);
}

}  // namespace

at::Tensor Attention::attend_source(std::int64_t, const at::Tensor&, const SourceProjection&,
                                    const ScoreRule&) {
  throw std::logic_error{"this attention has no source"};
}

at::Tensor attend_by_products(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              double scale, const at::Tensor& added, const WeightFilter& filter) {
  const auto length = q.size(0), heads = q.size(1), dim = q.size(2);
  const auto keys = k.size(0), kv_heads = k.size(1), group = heads / kv_heads;
  // Query heads that share a key head are so many more queries of it.
  const auto queries = (q * scale)
                           .view({length, kv_heads, group, dim})
                           .permute({1, 2, 0, 3})
                           .reshape({kv_heads, group * length, dim});
  auto scores = detail::batch_product(queries, k.permute({1, 2, 0}))
                    .view({kv_heads, group, length, keys});
  if (added.defined()) {
    scores = scores + (added.size(0) == 1 ? added : added.view({kv_heads, group, length, keys}));
  }
  const auto wide = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  auto weights = at::softmax(scores, -1, wide).to(q.scalar_type());
  if (filter) weights = filter(weights);
  const auto out =
      detail::batch_product(weights.view({kv_heads, group * length, keys}), v.transpose(0, 1));
  return out.view({kv_heads, group, length, dim})
      .permute({2, 0, 1, 3})
      .contiguous()
      .view({length, heads, dim});
}

at::Tensor full_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          std::span<const std::int64_t> lengths, const ScoreRule& rule,
                          const Dropout* dropout) {
  return by_sequence(lengths, q, lengths, k, v, [&](std::size_t i, const auto& qi, const auto& ki,
                                                    const auto& vi) {
    const auto bias = rule.bias ? bias_of(rule, lengths[i], q.options()) : at::Tensor{};
    return attend_by_products(qi, ki, vi, rule.scale, bias, filter_of(dropout, i, rule));
  });
}

AttentionKept kept_by_attention(const AttentionSizes& s) {
  constexpr std::int64_t kFloat = 4;
  const auto queries = s.heads * s.head_dim * s.element_bytes;
  const auto keys = s.kv_heads * s.head_dim * s.element_bytes;
  // Queries, keys, values, and the output as the next layer has it.
  const auto in_and_out = 2 * queries + 2 * keys;
  const bool is_plain = s.is_causal && !s.has_bias && !s.has_dropout;
  // All sequences in one kernel, whatever their lengths: a normalizer for each head.
  const bool is_packed = s.on_gpu
                             ? s.element_bytes <= kFloat &&
                                   detail::fits_varlen_kernel(s.head_dim, s.element_bytes)
                             : s.element_bytes <= kFloat;
  // In float32 a GPU's has the keys and values of every query head. (Its normalizers are padded to
  // the longest sequence, which is left out here.)
  const bool repeats = s.on_gpu && s.element_bytes == kFloat;
  if (is_plain && is_packed) return {(repeats ? 4 * queries : in_and_out) + s.heads * kFloat, 0};
  // The flash kernel keeps its own output too, in another order.
  if (is_plain && s.length > kShortSequence) return {in_and_out + s.heads * kFloat + queries, 0};
  // Softmax keeps its result, in float32 at least. The product with the values keeps what it
  // multiplies: the same, a narrower copy, or what dropout left.
  const bool is_narrow = s.element_bytes < kFloat;
  const auto multiplied = is_narrow || s.has_dropout ? s.element_bytes : 0;
  return {in_and_out, s.heads * (std::max(kFloat, s.element_bytes) + multiplied)};
}

at::Tensor CausalAttention::operator()(const at::Tensor& q, const at::Tensor& k,
                                       const at::Tensor& v, const ScoreRule& rule,
                                       const WeightFilter& filter) {
  const auto length = q.size(0);
  if (length > kShortSequence && rule.bias == nullptr && filter == nullptr) {
    return by_flash(q, k, v, rule.scale);
  }
  auto added = mask(length, q.options());
  if (rule.bias != nullptr) added = added + bias_of(rule, length, q.options());
  return attend_by_products(q, k, v, rule.scale, added, filter);
}

at::Tensor CausalAttention::mask(std::int64_t length, const at::TensorOptions& options) {
  if (!mask_.defined() || mask_.size(1) < length) {
    mask_ = at::full({1, length, length}, -std::numeric_limits<double>::infinity(),
                     options.requires_grad(false))
                .triu_(1);
  }
  return mask_.narrow(1, 0, length).narrow(2, 0, length);
}

at::Tensor SegmentedCausalAttention::attend(std::int64_t, const at::Tensor& q, const at::Tensor& k,
                                            const at::Tensor& v, const ScoreRule& rule) {
  const bool has_dropout = dropout_ != nullptr && rule.dropout > 0;
  const bool is_plain = rule.bias == nullptr && !has_dropout;
  if (is_plain && detail::has_kernels(q)) {
    return detail::packed_attention(q, k, v, lengths_, rule.scale);
  }
  if (is_plain && detail::has_varlen_kernel(q)) {
    if (!bounds_.defined()) bounds_ = detail::sequence_bounds(lengths_, q.device());
    return detail::varlen_attention(q, k, v, bounds_, std::ranges::max(lengths_), rule.scale);
  }
  return by_sequence(lengths_, q, lengths_, k, v, [&](std::size_t i, const auto& qi, const auto& ki,
                                                      const auto& vi) {
    return causal_attention_(qi, ki, vi, rule, filter_of(dropout_, i, rule));
  });
}

at::Tensor SegmentedCausalAttention::attend_source(std::int64_t layer, const at::Tensor& q,
                                                   const SourceProjection& project,
                                                   const ScoreRule& rule) {
  if (!source_.states.defined()) return Attention::attend_source(layer, q, project, rule);
  const auto [keys, values] = project(source_.states);
  return by_sequence(lengths_, q, source_.lengths, keys, values,
                     [&](std::size_t i, const auto& qi, const auto& ki, const auto& vi) {
                       return attend_by_products(qi, ki, vi, rule.scale, {},
                                                 filter_of(dropout_, i, rule));
                     });
}

}  // namespace hone

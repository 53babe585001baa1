#include "hone/core/model/attention.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/split_with_sizes.h>

#include <limits>

namespace hone {

namespace {

/// Units: tokens. Up to here the products of all heads together, with the scores in memory, beat the
/// flash kernel, which makes many small products a head and calls a library for each.
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

}  // namespace

at::Tensor CausalAttention::operator()(const at::Tensor& q, const at::Tensor& k,
                                       const at::Tensor& v, double scale) {
  return q.size(0) <= kShortSequence ? by_products(q, k, v, scale) : by_flash(q, k, v, scale);
}

at::Tensor CausalAttention::by_products(const at::Tensor& q, const at::Tensor& k,
                                        const at::Tensor& v, double scale) {
  const auto length = q.size(0), heads = q.size(1), dim = q.size(2), kv_heads = k.size(1);
  const auto group = heads / kv_heads;
  if (!mask_.defined()) {
    mask_ = at::full({kShortSequence, kShortSequence}, -std::numeric_limits<double>::infinity(),
                     q.options().requires_grad(false))
                .triu_(1);
  }
  const auto mask = mask_.narrow(0, 0, length).narrow(1, 0, length);
  // Query heads that share a key head are so many more queries of it.
  const auto queries = (q * scale)
                           .view({length, kv_heads, group, dim})
                           .permute({1, 2, 0, 3})
                           .reshape({kv_heads, group * length, dim});
  const auto scores = at::bmm(queries, k.permute({1, 2, 0}));
  const auto weights = at::softmax(scores.view({kv_heads, group, length, length}) + mask, -1);
  const auto out = at::bmm(weights.view({kv_heads, group * length, length}), v.transpose(0, 1));
  return out.view({kv_heads, group, length, dim})
      .permute({2, 0, 1, 3})
      .contiguous()
      .view({length, heads, dim});
}

at::Tensor SegmentedCausalAttention::attend(std::int64_t, const at::Tensor& q, const at::Tensor& k,
                                            const at::Tensor& v, double scale) {
  if (lengths_.size() == 1) return causal_attention_(q, k, v, scale);
  // split_with_sizes has one backward for all pieces; narrow would fill a full-size gradient each.
  const auto qs = at::split_with_sizes(q, lengths_);
  const auto ks = at::split_with_sizes(k, lengths_);
  const auto vs = at::split_with_sizes(v, lengths_);
  std::vector<at::Tensor> outputs;
  outputs.reserve(lengths_.size());
  for (std::size_t i = 0; i < lengths_.size(); ++i) {
    outputs.push_back(causal_attention_(qs[i], ks[i], vs[i], scale));
  }
  return at::cat(outputs);
}

}  // namespace hone

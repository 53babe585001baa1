#include "model/packed_attention.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/_softmax.h>
#include <ATen/ops/_softmax_backward_data.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <vector>

#include "hone/core/model/attention.hpp"

namespace hone::detail {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Queries, keys and values of one sequence, or tensors of their shapes.
struct Rows {
  at::Tensor q, k, v;

  Rows at(std::int64_t begin, std::int64_t length) const {
    return {q.narrow(0, begin, length), k.narrow(0, begin, length), v.narrow(0, begin, length)};
  }
  std::int64_t length() const { return q.size(0); }
  std::int64_t kv_heads() const { return k.size(1); }
  std::int64_t group() const { return q.size(1) / k.size(1); }
};

/// For the flash kernel. Key/value heads play the batch, the query heads that share one play the
/// heads. Where none is shared all are heads of one batch, which leaves the kernel's result as it
/// lies.
struct Flash {
  /// Shape: x (L, H, D); returns (K, G, L, D) or (1, H, L, D).
  static at::Tensor of_queries(const at::Tensor& x, std::int64_t kv_heads) {
    const auto group = x.size(1) / kv_heads;
    if (group == 1) return x.transpose(0, 1).unsqueeze(0);
    return x.view({x.size(0), kv_heads, group, x.size(2)}).permute({1, 2, 0, 3});
  }
  static at::Tensor of_keys(const at::Tensor& x, std::int64_t group) {
    if (group == 1) return x.transpose(0, 1).unsqueeze(0);
    return x.transpose(0, 1).unsqueeze(1).expand({x.size(1), group, x.size(0), x.size(2)});
  }

  /// Returns what backward needs: the normalizers.
  static at::Tensor forward(const Rows& rows, double scale, at::Tensor out) {
    const auto [result, normalizers] = at::_scaled_dot_product_flash_attention_for_cpu(
        of_queries(rows.q, rows.kv_heads()), of_keys(rows.k, rows.group()),
        of_keys(rows.v, rows.group()), 0.0, /*is_causal=*/true, {}, scale);
    of_queries(out, rows.kv_heads()).copy_(result);
    return normalizers;
  }

  static void backward(const Rows& rows, double scale, const at::Tensor& out,
                       const at::Tensor& normalizers, const at::Tensor& gradient, Rows gradients) {
    const auto [q, k, v] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        of_queries(gradient, rows.kv_heads()), of_queries(rows.q, rows.kv_heads()),
        of_keys(rows.k, rows.group()), of_keys(rows.v, rows.group()),
        of_queries(out, rows.kv_heads()), normalizers, 0.0, /*is_causal=*/true, {}, scale);
    of_queries(gradients.q, rows.kv_heads()).copy_(q);
    put_keys(gradients.k, k, rows.group());
    put_keys(gradients.v, v, rows.group());
  }

 private:
  static void put_keys(at::Tensor& into, const at::Tensor& from, std::int64_t group) {
    if (group == 1) {
      of_keys(into, 1).copy_(from);
    } else {
      into.transpose(0, 1).copy_(from.sum(1));
    }
  }
};

/// By products of all heads together, the scores in memory. Query heads that share a key head are
/// so many more queries of it, so that the products add up what they give of its gradient.
struct Products {
  /// Shape: x (L, H, D); returns (K, G L, D).
  static at::Tensor of_queries(const at::Tensor& x, std::int64_t kv_heads) {
    const auto group = x.size(1) / kv_heads;
    return x.view({x.size(0), kv_heads, group, x.size(2)})
        .permute({1, 2, 0, 3})
        .reshape({kv_heads, group * x.size(0), x.size(2)});
  }
  static void put_queries(const at::Tensor& into, const at::Tensor& from, std::int64_t kv_heads) {
    const auto group = into.size(1) / kv_heads;
    into.view({into.size(0), kv_heads, group, into.size(2)})
        .permute({1, 2, 0, 3})
        .copy_(from.view({kv_heads, group, into.size(0), into.size(2)}));
  }

  /// Returns what backward needs: the weights. Shape: mask (1, L, L).
  static at::Tensor forward(const Rows& rows, double scale, const at::Tensor& mask,
                            const at::Tensor& out) {
    const auto length = rows.length(), kv_heads = rows.kv_heads(), group = rows.group();
    const auto scores = at::bmm(of_queries(rows.q * scale, kv_heads), rows.k.permute({1, 2, 0}));
    scores.view({kv_heads * group, length, length}).add_(mask);
    const auto weights = at::_softmax(scores, -1, /*half_to_float=*/false);  // in float32 inside
    put_queries(out, at::bmm(weights, rows.v.transpose(0, 1)), kv_heads);
    return weights;
  }

  static void backward(const Rows& rows, double scale, const at::Tensor& weights,
                       const at::Tensor& gradient, const Rows& gradients) {
    const auto kv_heads = rows.kv_heads();
    const auto down = of_queries(gradient, kv_heads);
    gradients.v.transpose(0, 1).copy_(at::bmm(weights.transpose(1, 2), down));
    const auto of_weights = at::bmm(down, rows.v.permute({1, 2, 0}));
    const auto of_scores =
        at::_softmax_backward_data(of_weights, weights, -1, weights.scalar_type()).mul_(scale);
    put_queries(gradients.q, at::bmm(of_scores, rows.k.transpose(0, 1)), kv_heads);
    gradients.k.transpose(0, 1).copy_(
        at::bmm(of_scores.transpose(1, 2), of_queries(rows.q, kv_heads)));
  }
};

bool by_flash(std::int64_t length) { return takes_flash(length, false, false); }

struct PackedAttention : torch::autograd::Function<PackedAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const std::vector<std::int64_t>& lengths,
                            const std::optional<at::Tensor>& mask, double scale) {
    const Rows all{q, k, v};
    auto out = at::empty(q.sizes(), q.options());
    variable_list kept{q, k, v, out};
    std::int64_t begin = 0;
    for (const auto length : lengths) {
      const auto rows = all.at(begin, length);
      const auto part = out.narrow(0, begin, length);
      kept.push_back(by_flash(length)
                         ? Flash::forward(rows, scale, part)
                         : Products::forward(rows, scale,
                                             mask->narrow(1, 0, length).narrow(2, 0, length), part));
      begin += length;
    }
    context->save_for_backward(std::move(kept));
    context->saved_data["lengths"] = lengths;
    context->saved_data["scale"] = scale;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto kept = context->get_saved_variables();
    const auto lengths = context->saved_data["lengths"].toIntVector();
    const auto scale = context->saved_data["scale"].toDouble();
    const auto gradient = gradients[0].contiguous();
    const Rows all{kept[0], kept[1], kept[2]};
    const Rows results{at::empty(kept[0].sizes(), kept[0].options()),
                       at::empty(kept[1].sizes(), kept[1].options()),
                       at::empty(kept[2].sizes(), kept[2].options())};
    std::int64_t begin = 0;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      const auto length = lengths[i];
      const auto rows = all.at(begin, length);
      const auto into = results.at(begin, length);
      const auto down = gradient.narrow(0, begin, length);
      if (by_flash(length)) {
        Flash::backward(rows, scale, kept[3].narrow(0, begin, length), kept[4 + i], down, into);
      } else {
        Products::backward(rows, scale, kept[4 + i], down, into);
      }
      begin += length;
    }
    return {results.q, results.k, results.v, at::Tensor{}, at::Tensor{}, at::Tensor{}};
  }
};

}  // namespace

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::span<const std::int64_t> lengths, const at::Tensor& mask,
                            double scale) {
  return PackedAttention::apply(q, k, v, std::vector<std::int64_t>{lengths.begin(), lengths.end()},
                                mask.defined() ? std::optional{mask} : std::nullopt, scale);
}

}  // namespace hone::detail

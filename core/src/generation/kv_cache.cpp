#include "generation/kv_cache.hpp"

#include <ATen/TensorIndexing.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <limits>

#include "hone/core/model/language_model.hpp"

namespace hone::detail {

KvCache::KvCache(const ModelShape& shape, std::int64_t max_rows, std::int64_t max_tokens,
                 at::TensorOptions options)
    : max_rows_(max_rows) {
  for (std::int64_t layer = 0; layer < shape.num_layers; ++layer) {
    // Zeros, not empty: masked places are multiplied by zero and must be finite.
    keys_.push_back(
        at::zeros({max_rows, shape.num_kv_heads, max_tokens, shape.head_dim}, options));
    values_.push_back(at::zeros_like(keys_.back()));
  }
}

std::int64_t KvCache::add_row(std::int64_t length) {
  lengths_.push_back(length);
  return num_rows() - 1;
}

void KvCache::remove_row(std::int64_t row) {
  const auto last = num_rows() - 1;
  if (row != last) {
    const auto length = lengths_.back();
    for (const auto* side : {&keys_, &values_}) {
      for (const auto& cache : *side) {
        cache[row].narrow(1, 0, length).copy_(cache[last].narrow(1, 0, length));
      }
    }
    lengths_[static_cast<std::size_t>(row)] = length;
  }
  lengths_.pop_back();
}

void KvCache::grow() {
  for (auto& length : lengths_) ++length;
}

at::Tensor PrefillAttention::attend(std::int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                    const at::Tensor& v, double scale) {
  std::vector<at::Tensor> outputs;
  std::int64_t begin = 0;
  for (const auto& prompt : prompts_) {
    const auto keys = k.narrow(0, begin, prompt.length);
    const auto values = v.narrow(0, begin, prompt.length);
    outputs.push_back(causal_attention_(q.narrow(0, begin, prompt.length), keys, values, scale));
    const auto store = [&](const at::Tensor& cache, const at::Tensor& tokens) {
      cache.narrow(0, prompt.first_row, prompt.num_rows)
          .narrow(2, 0, prompt.length)
          .copy_(tokens.transpose(0, 1));
    };
    store(cache_.keys(layer), keys);
    store(cache_.values(layer), values);
    begin += prompt.length;
  }
  return at::cat(outputs);
}

DecodeAttention::DecodeAttention(KvCache& cache)
    : cache_(cache),
      longest_(*std::max_element(cache.lengths().begin(), cache.lengths().end())) {
  const auto options = cache.keys(0).options();
  const auto lengths = at::tensor(cache.lengths(), at::kLong).to(options.device());
  rows_ = at::arange(cache.num_rows(), lengths.options());
  positions_ = lengths - 1;
  const auto visible =
      at::arange(longest_, lengths.options()).unsqueeze(0) < lengths.unsqueeze(1);
  mask_ = at::where(visible, at::zeros({}, options),
                    at::full({}, -std::numeric_limits<double>::infinity(), options))
              .view({cache.num_rows(), 1, 1, longest_});
}

at::Tensor DecodeAttention::attend(std::int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v, double scale) {
  const auto rows = q.size(0), heads = q.size(1), dim = q.size(2), kv_heads = k.size(1);
  using at::indexing::Slice;
  auto keys = cache_.keys(layer), values = cache_.values(layer);
  keys.index_put_({rows_, Slice(), positions_}, k);
  values.index_put_({rows_, Slice(), positions_}, v);
  // Query heads that share a key head are so many queries of it: (R * K, G, D) over (R * K, T, D).
  const auto queries = (q * scale).view({rows * kv_heads, heads / kv_heads, dim});
  const auto seen = [&](const at::Tensor& cache) {
    return cache.narrow(0, 0, rows).flatten(0, 1).narrow(1, 0, longest_);
  };
  const auto scores = at::bmm(queries, seen(keys).transpose(1, 2));
  const auto weights = at::softmax(
      scores.view({rows, kv_heads, heads / kv_heads, longest_}) + mask_, -1);
  return at::bmm(weights.view({rows * kv_heads, heads / kv_heads, longest_}),
                 seen(values))
      .view({rows, heads, dim});
}

}  // namespace hone::detail

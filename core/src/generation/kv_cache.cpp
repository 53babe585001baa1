#include "generation/kv_cache.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "hone/core/model/language_model.hpp"
#include "model/kernels/decode_functions.hpp"
#include "model/kernels/stored_type.hpp"

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
  const auto device = keys_.front().device();
  if (!device.is_cpu()) places_ = last_places().to(device);
}

std::int64_t KvCache::last_place(std::int64_t row) const {
  const auto place = lengths_[static_cast<std::size_t>(row)] - 1;
  if (place >= keys_.front().size(2)) {
    throw std::logic_error{"the cache has no room for another token"};
  }
  return place;
}

/// Of each row and head, counted in heads' tokens. Shape: (num_rows * K) int64, in host memory.
at::Tensor KvCache::last_places() const {
  const auto heads = keys_.front().size(1), room = keys_.front().size(2);
  std::vector<std::int64_t> places;
  places.reserve(static_cast<std::size_t>(num_rows() * heads));
  for (std::int64_t row = 0; row < num_rows(); ++row) {
    const auto place = last_place(row);
    for (auto head = row * heads; head < (row + 1) * heads; ++head) {
      places.push_back(head * room + place);
    }
  }
  return at::tensor(places, at::kLong);
}

void KvCache::put_last(std::int64_t layer, const at::Tensor& keys, const at::Tensor& values) {
  const auto put = [&](const at::Tensor& from, const at::Tensor& to) {
    if (from.is_cpu()) return copy_last(from.contiguous(), to);
    const auto dim = to.size(3);
    to.view({-1, dim}).index_copy_(0, places_, from.reshape({-1, dim}));
  };
  put(keys, keys_[static_cast<std::size_t>(layer)]);
  put(values, values_[static_cast<std::size_t>(layer)]);
}

/// Shape: from (num_rows, K, D), to (max_rows, K, max_tokens, D); both contiguous, in host memory.
void KvCache::copy_last(const at::Tensor& from, const at::Tensor& to) const {
  const auto heads = to.size(1), room = to.size(2);
  const auto bytes = to.size(3) * to.element_size();
  const auto* source = static_cast<const std::byte*>(from.const_data_ptr());
  auto* target = static_cast<std::byte*>(to.mutable_data_ptr());
  for (std::int64_t row = 0; row < num_rows(); ++row) {
    const auto place = last_place(row);
    for (auto head = row * heads; head < (row + 1) * heads; ++head) {
      std::memcpy(target + (head * room + place) * bytes, source + head * bytes,
                  static_cast<std::size_t>(bytes));
    }
  }
}

namespace {

/// The keys or values of one text into every cache row of its samples. Shape: tokens (L, K, D).
void store(const at::Tensor& cache, const PrefillAttention::Prompt& prompt, const at::Tensor& tokens) {
  cache.narrow(0, prompt.first_row, prompt.num_rows)
      .narrow(2, 0, tokens.size(0))
      .copy_(tokens.transpose(0, 1));
}

std::vector<std::int64_t> lengths_of(std::span<const PrefillAttention::Prompt> prompts) {
  std::vector<std::int64_t> lengths;
  for (const auto& prompt : prompts) lengths.push_back(prompt.length);
  return lengths;
}

}  // namespace

PrefillAttention::PrefillAttention(DecodingState& state, std::vector<Prompt> prompts,
                                   EncodedSource source)
    : state_(state),
      prompts_(std::move(prompts)),
      source_(std::move(source)),
      attention_(lengths_of(prompts_)) {}

at::Tensor PrefillAttention::attend(std::int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                    const at::Tensor& v, const ScoreRule& rule) {
  std::int64_t begin = 0;
  for (const auto& prompt : prompts_) {
    store(state_.own.keys(layer), prompt, k.narrow(0, begin, prompt.length));
    store(state_.own.values(layer), prompt, v.narrow(0, begin, prompt.length));
    begin += prompt.length;
  }
  return attention_.attend(layer, q, k, v, rule);
}

at::Tensor PrefillAttention::attend_source(std::int64_t layer, const at::Tensor& q,
                                           const SourceProjection& project, const ScoreRule& rule) {
  if (!state_.source || !source_.states.defined()) {
    return Attention::attend_source(layer, q, project, rule);
  }
  const auto [all_keys, all_values] = project(source_.states);
  std::vector<at::Tensor> outputs;
  std::int64_t begin = 0, source_begin = 0;
  for (std::size_t i = 0; i < prompts_.size(); ++i) {
    const auto keys = all_keys.narrow(0, source_begin, source_.lengths[i]);
    const auto values = all_values.narrow(0, source_begin, source_.lengths[i]);
    outputs.push_back(attend_by_products(q.narrow(0, begin, prompts_[i].length), keys, values,
                                         rule.scale, {}));
    store(state_.source->keys(layer), prompts_[i], keys);
    store(state_.source->values(layer), prompts_[i], values);
    begin += prompts_[i].length;
    source_begin += source_.lengths[i];
  }
  return at::cat(outputs);
}

CacheView::CacheView(const KvCache& cache)
    : cache_(cache), longest_(*std::ranges::max_element(cache.lengths())) {}

at::Tensor CacheView::attend(std::int64_t layer, const at::Tensor& q, double scale,
                             const at::Tensor& added) {
  if (!has_kernels(q)) return attend_by_products(layer, q, scale, added);
  return attend_cached(q, cache_.keys(layer), cache_.values(layer), cache_.lengths(), scale,
                       added);
}

at::Tensor CacheView::attend_by_products(std::int64_t layer, const at::Tensor& q, double scale,
                                         const at::Tensor& added) {
  const auto rows = q.size(0), heads = q.size(1), dim = q.size(2);
  const auto kv_heads = cache_.keys(layer).size(1), group = heads / kv_heads;
  // Query heads that share a key head are so many queries of it: (R * K, G, D) over (R * K, T, D).
  const auto queries = q.reshape({rows * kv_heads, group, dim});
  const auto seen = [&](const at::Tensor& cache) {
    return cache.narrow(0, 0, rows).flatten(0, 1).narrow(1, 0, longest_);
  };
  const auto unseen = mask(q.options()).expand({rows, kv_heads, group, longest_});
  const auto into = (added.defined() ? unseen + added : unseen)
                        .reshape({rows * kv_heads, group, longest_});
  const auto keys = seen(cache_.keys(layer)).transpose(1, 2);
  const auto scores = at::baddbmm(into, queries, keys, /*beta=*/1, scale);
  // Of narrow types too it computes in float32.
  return at::bmm(at::softmax(scores, -1), seen(cache_.values(layer))).view({rows, heads, dim});
}

const at::Tensor& CacheView::mask(const at::TensorOptions& options) {
  if (mask_.defined()) return mask_;
  const auto lengths = at::tensor(cache_.lengths(), at::kLong).to(options.device());
  const auto visible = at::arange(longest_, lengths.options()).unsqueeze(0) < lengths.unsqueeze(1);
  mask_ = at::where(visible, at::zeros({}, options),
                    at::full({}, -std::numeric_limits<double>::infinity(), options))
              .view({cache_.num_rows(), 1, 1, longest_});
  return mask_;
}

DecodeAttention::DecodeAttention(DecodingState& state) : state_(state), own_(state.own) {
  if (state.source) source_.emplace(*state.source);
  const auto device = state.own.keys(0).device();
  positions_ = at::tensor(state.own.lengths(), at::kLong).to(device) - 1;
}

at::Tensor DecodeAttention::attend(std::int64_t layer, const at::Tensor& q, const at::Tensor& k,
                                   const at::Tensor& v, const ScoreRule& rule) {
  state_.own.put_last(layer, k, v);
  if (rule.bias != bias_of_) {
    const auto offsets =
        at::arange(own_.longest(), positions_.options()).unsqueeze(0) - positions_.unsqueeze(1);
    const auto bias = (*rule.bias)(offsets.flatten())  // (H, R * T)
                          .view({k.size(1), q.size(1) / k.size(1), q.size(0), own_.longest()})
                          .permute({2, 0, 1, 3});
    bias_ = has_kernels(q) ? bias.to(at::kFloat).contiguous() : bias;
    bias_of_ = rule.bias;
  }
  return own_.attend(layer, q, rule.scale, bias_);
}

at::Tensor DecodeAttention::attend_source(std::int64_t layer, const at::Tensor& q,
                                          const SourceProjection& project, const ScoreRule& rule) {
  if (!source_) return Attention::attend_source(layer, q, project, rule);
  return source_->attend(layer, q, rule.scale, {});
}

}  // namespace hone::detail

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "hone/core/model/attention.hpp"

namespace hone {

struct ModelShape;

namespace detail {

/// Keys and values of the sequences that are being decoded, allocated once: rows [0, num_rows())
/// are in use, row r holds length(r) tokens. Shape per layer: (max_rows, K, max_tokens, D).
class KvCache {
 public:
  KvCache(const ModelShape& shape, std::int64_t max_rows, std::int64_t max_tokens,
          at::TensorOptions options);

  std::int64_t num_rows() const { return static_cast<std::int64_t>(lengths_.size()); }
  std::int64_t free_rows() const { return max_rows_ - num_rows(); }
  const std::vector<std::int64_t>& lengths() const { return lengths_; }

  /// Takes the next row for a sequence of `length` tokens, to be filled by the caller.
  std::int64_t add_row(std::int64_t length);
  /// Drops a row; the last row moves into its place.
  void remove_row(std::int64_t row);
  /// Every row gets one more token (its place is the old length).
  void grow();
  /// Fills that place in one layer. Shape: both (num_rows, K, D).
  void put_last(std::int64_t layer, const at::Tensor& keys, const at::Tensor& values);

  const at::Tensor& keys(std::int64_t layer) const { return keys_[static_cast<std::size_t>(layer)]; }
  const at::Tensor& values(std::int64_t layer) const {
    return values_[static_cast<std::size_t>(layer)];
  }

 private:
  std::int64_t last_place(std::int64_t row) const;
  at::Tensor last_places() const;
  void copy_last(const at::Tensor& from, const at::Tensor& to) const;

  std::int64_t max_rows_;
  std::vector<std::int64_t> lengths_;
  std::vector<at::Tensor> keys_, values_;
  at::Tensor places_;  ///< on a GPU: last_places()
};

/// What decoding remembers: the rows' own keys and values, and, of encoder-decoders, in the same
/// rows those of their sources.
struct DecodingState {
  KvCache own;
  std::optional<KvCache> source;

  void remove_row(std::int64_t row) {
    own.remove_row(row);
    if (source) source->remove_row(row);
  }
};

/// Prefill: prompts lie one behind another; each is attended causally, and its keys and values go
/// into every cache row of its samples. So do those of its source, where there is one.
class PrefillAttention final : public Attention {
 public:
  struct Prompt {
    std::int64_t length = 0;
    std::int64_t first_row = 0;  ///< its samples have rows first_row .. first_row + num_rows - 1
    std::int64_t num_rows = 0;
  };
  /// `source`: one text for each prompt, or nothing.
  PrefillAttention(DecodingState& state, std::vector<Prompt> prompts, EncodedSource source);

  at::Tensor attend(std::int64_t layer, const at::Tensor& q, const at::Tensor& k,
                    const at::Tensor& v, const ScoreRule& rule) override;
  at::Tensor attend_source(std::int64_t layer, const at::Tensor& q, const SourceProjection& project,
                           const ScoreRule& rule) override;

 private:
  DecodingState& state_;
  std::vector<Prompt> prompts_;
  EncodedSource source_;
  SegmentedCausalAttention attention_;
};

/// What one query a row sees of a cache: each row up to its length.
class CacheView {
 public:
  explicit CacheView(const KvCache& cache);
  /// Shape: q (R, H, D), `added` to the scores (R, K, G, longest) or undefined; returns (R, H, D).
  at::Tensor attend(std::int64_t layer, const at::Tensor& q, double scale, const at::Tensor& added);
  std::int64_t longest() const { return longest_; }

 private:
  at::Tensor attend_by_products(std::int64_t layer, const at::Tensor& q, double scale,
                                const at::Tensor& added);
  const at::Tensor& mask(const at::TensorOptions& options);

  const KvCache& cache_;
  std::int64_t longest_;
  at::Tensor mask_;  ///< -inf behind the length of each row; once it was needed
};

/// One new token a row: its key and value are appended, and it sees its whole row, and its whole
/// source.
class DecodeAttention final : public Attention {
 public:
  /// Call after KvCache::grow(); valid for one forward.
  explicit DecodeAttention(DecodingState& state);

  at::Tensor attend(std::int64_t layer, const at::Tensor& q, const at::Tensor& k,
                    const at::Tensor& v, const ScoreRule& rule) override;
  at::Tensor attend_source(std::int64_t layer, const at::Tensor& q, const SourceProjection& project,
                           const ScoreRule& rule) override;

  /// The position of each row's new token. Shape: (R) int64.
  const at::Tensor& positions() const { return positions_; }

 private:
  DecodingState& state_;
  CacheView own_;
  std::optional<CacheView> source_;
  at::Tensor positions_;
  const PositionBias* bias_of_ = nullptr;  ///< what bias_ was made of: all layers of a stack share one
  at::Tensor bias_;  ///< in the type that CacheView::attend() adds
};

}  // namespace detail
}  // namespace hone

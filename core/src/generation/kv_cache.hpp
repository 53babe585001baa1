#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "hone/core/model/attention.hpp"

namespace hone {

struct ModelShape;

namespace detail {

/// Keys and values of the sequences that are being decoded, allocated once: rows [0, num_rows()) are
/// in use, row r holds length(r) tokens. Shape per layer: (max_rows, K, max_tokens, D).
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

  const at::Tensor& keys(std::int64_t layer) const { return keys_[static_cast<std::size_t>(layer)]; }
  const at::Tensor& values(std::int64_t layer) const {
    return values_[static_cast<std::size_t>(layer)];
  }

 private:
  std::int64_t max_rows_;
  std::vector<std::int64_t> lengths_;
  std::vector<at::Tensor> keys_, values_;
};

/// Prefill: prompts lie one behind another; each is attended causally, and its keys and values go
/// into every cache row of its samples.
class PrefillAttention final : public Attention {
 public:
  struct Prompt {
    std::int64_t length = 0;
    std::int64_t first_row = 0;  ///< its samples have rows first_row .. first_row + num_rows - 1
    std::int64_t num_rows = 0;
  };
  PrefillAttention(KvCache& cache, std::vector<Prompt> prompts)
      : cache_(cache), prompts_(std::move(prompts)) {}

  at::Tensor attend(std::int64_t layer, const at::Tensor& q, const at::Tensor& k,
                    const at::Tensor& v, double scale) override;

 private:
  KvCache& cache_;
  std::vector<Prompt> prompts_;
  CausalAttention causal_attention_;
};

/// One new token a row: its key and value are appended, and it sees its whole row.
class DecodeAttention final : public Attention {
 public:
  /// Call after KvCache::grow(); valid for one forward.
  explicit DecodeAttention(KvCache& cache);

  at::Tensor attend(std::int64_t layer, const at::Tensor& q, const at::Tensor& k,
                    const at::Tensor& v, double scale) override;

  /// The position of each row's new token. Shape: (R) int64.
  const at::Tensor& positions() const { return positions_; }

 private:
  KvCache& cache_;
  std::int64_t longest_;
  at::Tensor rows_, positions_, mask_;
};

}  // namespace detail
}  // namespace hone

#pragma once

#include <cstdint>
#include <limits>

namespace hone {

/// A run of a buffer's elements.
struct ElementRange {
  std::int64_t begin = 0;
  std::int64_t count = 0;

  std::int64_t end() const { return begin + count; }
  bool operator==(const ElementRange&) const = default;
};

/// The elements that both have; its count is 0 where there are none.
ElementRange overlap(const ElementRange& left, const ElementRange& right);

/// Which rank owns which elements of a flat buffer. The buffer is cut into buckets, which are
/// communicated one by one; of each bucket every rank owns one block. All blocks of a bucket have
/// the same size, but the last rank owns the rest behind them too. Each element has one owner.
class BufferPartition {
 public:
  /// Blocks begin at multiples of so many elements: kernels then treat each element as in the whole
  /// buffer.
  static constexpr std::int64_t kGrain = 16;

  /// `bucket_count`: elements of a bucket, at least; rounded up so that only the last has a rest.
  BufferPartition(std::int64_t count, int num_ranks,
                  std::int64_t bucket_count = std::numeric_limits<std::int64_t>::max());

  std::int64_t num_buckets() const { return num_buckets_; }
  ElementRange bucket(std::int64_t index) const;
  /// Elements of every rank's block; 0 where there is only a rest.
  std::int64_t block(std::int64_t index) const;
  /// What is behind the blocks: fewer than kGrain elements a rank.
  ElementRange rest(std::int64_t index) const;
  ElementRange owned(std::int64_t index, int rank) const;

 private:
  std::int64_t count_;
  std::int64_t num_ranks_;
  std::int64_t bucket_count_;
  std::int64_t num_buckets_;
};

}  // namespace hone

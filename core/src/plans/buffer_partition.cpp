#include "hone/core/buffer_partition.hpp"

#include <algorithm>

namespace hone {

ElementRange overlap(const ElementRange& left, const ElementRange& right) {
  const auto begin = std::max(left.begin, right.begin);
  return {.begin = begin,
          .count = std::max<std::int64_t>(0, std::min(left.end(), right.end()) - begin)};
}

BufferPartition::BufferPartition(std::int64_t count, int num_ranks, std::int64_t bucket_count)
    : count_(count), num_ranks_(num_ranks) {
  const auto unit = num_ranks_ * kGrain;
  const auto wanted = std::clamp<std::int64_t>(bucket_count, 1, std::max<std::int64_t>(1, count));
  bucket_count_ = (wanted + unit - 1) / unit * unit;
  num_buckets_ = (count + bucket_count_ - 1) / bucket_count_;
}

ElementRange BufferPartition::bucket(std::int64_t index) const {
  const auto begin = index * bucket_count_;
  return {.begin = begin, .count = std::min(bucket_count_, count_ - begin)};
}

std::int64_t BufferPartition::block(std::int64_t index) const {
  return bucket(index).count / (num_ranks_ * kGrain) * kGrain;
}

ElementRange BufferPartition::rest(std::int64_t index) const {
  const auto whole = bucket(index);
  const auto in_blocks = num_ranks_ * block(index);
  return {.begin = whole.begin + in_blocks, .count = whole.count - in_blocks};
}

ElementRange BufferPartition::owned(std::int64_t index, int rank) const {
  const auto size = block(index);
  ElementRange mine{.begin = bucket(index).begin + rank * size, .count = size};
  if (rank + 1 == num_ranks_) mine.count += rest(index).count;
  return mine;
}

}  // namespace hone

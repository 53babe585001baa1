#pragma once

#include <cstdint>

namespace hone::distributed::detail {

/// A run of elements [first, first + count) of a buffer. MPI counts are ints; positions are not.
struct Chunk {
  std::int64_t first = 0;
  int count = 0;

  bool operator==(const Chunk&) const = default;
};

/// Cuts `count` elements into consecutive chunks of at most `chunk_bytes` (at least one element and
/// at most INT_MAX elements each); the last one may be smaller. No chunks where `count` is 0.
class ChunkPlan {
 public:
  ChunkPlan(std::int64_t count, std::int64_t element_bytes, std::int64_t chunk_bytes);

  std::int64_t num_chunks() const { return num_chunks_; }
  /// Chunk `index` of [0, num_chunks()).
  Chunk chunk(std::int64_t index) const;

 private:
  std::int64_t count_;
  std::int64_t per_chunk_;
  std::int64_t num_chunks_;
};

/// A run of elements [first, first + count) of a buffer, for one of several workers.
struct Slice {
  std::int64_t first = 0;
  std::int64_t count = 0;

  bool operator==(const Slice&) const = default;
};

/// What worker `index` of `num_workers` has of `count` elements: all about the same, one behind
/// another, cut at multiples of 64 elements, so that no two touch a cache line of an aligned
/// buffer.
Slice slice_of(std::int64_t count, int index, int num_workers);

/// The part of `chunk` that a buffer of `length` elements has; its count is 0 where there is none.
Chunk clipped(Chunk chunk, std::int64_t length);

}  // namespace hone::distributed::detail

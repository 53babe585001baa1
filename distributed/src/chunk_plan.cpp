#include "chunk_plan.hpp"

#include <algorithm>
#include <limits>

namespace hone::distributed::detail {

ChunkPlan::ChunkPlan(std::int64_t count, std::int64_t element_bytes, std::int64_t chunk_bytes)
    : count_(count),
      per_chunk_(std::clamp<std::int64_t>(chunk_bytes / element_bytes, 1,
                                          std::numeric_limits<int>::max())),
      num_chunks_(count / per_chunk_ + (count % per_chunk_ != 0 ? 1 : 0)) {}

Chunk ChunkPlan::chunk(std::int64_t index) const {
  const std::int64_t first = index * per_chunk_;
  return {.first = first, .count = static_cast<int>(std::min(per_chunk_, count_ - first))};
}

Slice slice_of(std::int64_t count, int index, int num_workers) {
  constexpr std::int64_t kGrain = 64;
  const std::int64_t grains = (count + kGrain - 1) / kGrain;
  const std::int64_t first = std::min(count, grains * index / num_workers * kGrain);
  const std::int64_t last = std::min(count, grains * (index + 1) / num_workers * kGrain);
  return {.first = first, .count = last - first};
}

Chunk clipped(Chunk chunk, std::int64_t length) {
  const std::int64_t first = std::min(chunk.first, length);
  return {.first = first,
          .count = static_cast<int>(std::min<std::int64_t>(chunk.count, length - first))};
}

}  // namespace hone::distributed::detail

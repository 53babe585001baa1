#include "flat_sharing.hpp"

#include <vector>

namespace hone::distributed::detail {

void share(Communicator& comm, const GradientReducer& reducer, std::span<const FlatBuffer> values) {
  std::vector<RankBlocks> blocks;
  std::vector<FlatBuffer> rests;
  for (const auto& buffer : values) {
    const auto parts = reducer.partition(buffer.count);
    for (std::int64_t i = 0; i < parts.num_buckets(); ++i) {
      blocks.push_back({element(buffer, parts.bucket(i).begin), parts.block(i), buffer.dtype});
      const auto rest = parts.rest(i);
      if (rest.count == 0) continue;  // as of every bucket but the last
      rests.push_back({element(buffer, rest.begin), rest.count, buffer.dtype});
    }
  }
  comm.all_gathers(blocks);
  for (const auto& rest : rests) comm.broadcast(rest.data, rest.count, rest.dtype, comm.size() - 1);
}

}  // namespace hone::distributed::detail

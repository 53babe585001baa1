#include "flat_sharing.hpp"

namespace hone::distributed::detail {

void share(Communicator& comm, const GradientReducer& reducer, std::span<const FlatBuffer> values) {
  for (const auto& buffer : values) {
    const auto parts = reducer.partition(buffer.count);
    for (std::int64_t i = 0; i < parts.num_buckets(); ++i) {
      comm.all_gather(element(buffer, parts.bucket(i).begin), parts.block(i), buffer.dtype);
      const auto rest = parts.rest(i);
      comm.broadcast(element(buffer, rest.begin), rest.count, buffer.dtype, comm.size() - 1);
    }
  }
}

}  // namespace hone::distributed::detail

#pragma once

#include "hone/core/communicator.hpp"
#include "hone/core/gradient_reducer.hpp"

namespace hone::distributed::detail {

/// Where element `index` of a buffer is.
inline void* element(const FlatBuffer& buffer, std::int64_t index) {
  return static_cast<std::byte*>(buffer.data) + index * size_of(buffer.dtype);
}

/// Every owner's elements of `buffer` on every rank, in place. Collective.
void share(Communicator& comm, const FlatBuffer& buffer, const BufferPartition& parts);

}  // namespace hone::distributed::detail

#pragma once

#include <span>

#include "hone/core/communicator.hpp"
#include "hone/core/gradient_reducer.hpp"

namespace hone::distributed::detail {

/// Where element `index` of a buffer is.
inline void* element(const FlatBuffer& buffer, std::int64_t index) {
  return static_cast<std::byte*>(buffer.data) + index * size_of(buffer.dtype);
}

/// GradientReducer::share() of a reducer that works on `comm`. Collective.
void share(Communicator& comm, const GradientReducer& reducer, std::span<const FlatBuffer> values);

}  // namespace hone::distributed::detail

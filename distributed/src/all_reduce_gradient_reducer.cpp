#include "hone/distributed/all_reduce_gradient_reducer.hpp"

namespace hone::distributed {

void AllReduceGradientReducer::reduce(std::span<const GradientBuffer> buffers) {
  for (const auto& buffer : buffers) {
    comm_.all_reduce(buffer.data, buffer.count, buffer.dtype, ReduceOp::Sum);
  }
}

}  // namespace hone::distributed

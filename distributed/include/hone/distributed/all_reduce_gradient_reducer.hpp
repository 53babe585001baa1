#pragma once

#include <span>

#include "hone/core/communicator.hpp"
#include "hone/core/gradient_reducer.hpp"

namespace hone::distributed {

/// Sums every gradient buffer over the ranks of a communicator, one all_reduce per buffer, in order.
/// All ranks end with the same bits.
///
/// Collective: reduce(), with buffers of the same counts and types in the same order.
/// Ownership: the communicator must outlive this.
/// Throws: CommunicatorError.
class AllReduceGradientReducer final : public GradientReducer {
 public:
  explicit AllReduceGradientReducer(Communicator& comm) : comm_(comm) {}

  void reduce(std::span<const GradientBuffer> buffers) override;

 private:
  Communicator& comm_;
};

}  // namespace hone::distributed

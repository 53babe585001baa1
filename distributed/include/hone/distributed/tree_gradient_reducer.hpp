#pragma once

#include <span>

#include "hone/core/communicator.hpp"
#include "hone/core/gradient_reducer.hpp"

namespace hone::distributed {

/// Sums every gradient buffer in the order of a fixed binary tree over the ranks, ((0 + 1) + (2 + 3)), so
/// that the bits do not depend on how a communicator reduces. Every rank reads all ranks' gradients: the
/// traffic is the number of ranks times that of an all-reduce.
///
/// Collective: reduce(), with buffers of the same counts and types in the same order.
/// Ownership: the communicator must outlive this.
/// Throws: CommunicatorError.
class TreeGradientReducer final : public GradientReducer {
 public:
  explicit TreeGradientReducer(Communicator& comm) : comm_(comm) {}

  void reduce(std::span<const GradientBuffer> buffers) override;
  bool is_deterministic() const override { return true; }

 private:
  Communicator& comm_;
};

}  // namespace hone::distributed

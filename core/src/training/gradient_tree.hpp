#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace hone {

class ParameterStore;

namespace detail {

/// Sums the gradients of several shards in the order of a fixed binary tree, ((0 + 1) + (2 + 3)),
/// in the parameters' gradient buffers. One shard costs nothing; more cost a buffer a level.
class GradientTree {
 public:
  /// `num_leaves`: shards of this rank, a power of two. `parameters` begin with zero gradients.
  GradientTree(ParameterStore& parameters, std::size_t num_leaves)
      : parameters_(parameters), num_leaves_(num_leaves) {}

  /// The gradients of one more shard are complete. After the last the buffers hold the sum.
  void end_leaf();

 private:
  ParameterStore& parameters_;
  std::size_t num_leaves_;
  std::size_t done_ = 0;
  std::vector<std::vector<at::Tensor>> waiting_;  ///< left halves, the lowest level last
};

/// The sum in the order of a fixed binary tree over neighbours.
double tree_sum(std::vector<double> values);

}  // namespace detail
}  // namespace hone

#pragma once

#include <cstdint>
#include <span>

#include "hone/core/dtype.hpp"

namespace hone {

/// One flat buffer that holds the gradients of many parameters.
struct GradientBuffer {
  void* data = nullptr;
  std::int64_t count = 0;  ///< elements
  DType dtype = DType::Float32;
};

/// Sums gradients over all ranks.
///
/// Collective: reduce(); ranks without samples call it too, with zeros.
/// Throws: CommunicatorError; the buffers are then unspecified, parameters untouched.
class GradientReducer {
 public:
  virtual ~GradientReducer() = default;
  /// In place; sums, never averages: the loss was already divided by the global target count.
  virtual void reduce(std::span<const GradientBuffer> buffers) = 0;
  /// Whether it sums in the order of a fixed binary tree over the ranks, ((0 + 1) + (2 + 3)).
  virtual bool is_deterministic() const { return false; }
};

}  // namespace hone

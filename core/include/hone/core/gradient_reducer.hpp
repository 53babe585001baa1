#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "hone/core/buffer_partition.hpp"
#include "hone/core/dtype.hpp"

namespace hone {

/// One flat buffer of many parameters: of their gradients, or of their values.
struct FlatBuffer {
  void* data = nullptr;
  std::int64_t count = 0;  ///< elements
  DType dtype = DType::Float32;
};

/// Sums gradients over all ranks: for all of them, or each element for its owner alone, who then shares
/// what it made of it.
///
/// Collective: reduce(), reduce_to_owners(), share() and allocate(); ranks without samples call them too,
/// with zeros. All ranks pass buffers of the same counts and types in the same order.
/// Throws: CommunicatorError; the buffers are then unspecified.
class GradientReducer {
 public:
  virtual ~GradientReducer() = default;

  /// In place; sums, never averages: the loss was already divided by the global target count. All ranks
  /// end with the same bits.
  virtual void reduce(std::span<const FlatBuffer> gradients) = 0;

  /// Who owns which elements of a buffer of `count` elements.
  virtual BufferPartition partition(std::int64_t count) const = 0;
  /// As reduce(), but a rank has sums only where it is the owner; what it has elsewhere is unspecified.
  virtual void reduce_to_owners(std::span<const FlatBuffer> gradients) = 0;
  /// Every owner's elements on every rank, in place.
  virtual void share(std::span<const FlatBuffer> values) = 0;

  /// Memory, all zero, in which gradients are summed faster than in any other. Null: any is as good. It
  /// may outlive the reducer.
  virtual std::shared_ptr<std::byte> allocate(std::int64_t bytes) = 0;

  /// Whether it sums in the order of a fixed binary tree over the ranks, ((0 + 1) + (2 + 3)), on all ranks
  /// in reduce_to_owners() too.
  virtual bool is_deterministic() const { return false; }
};

}  // namespace hone

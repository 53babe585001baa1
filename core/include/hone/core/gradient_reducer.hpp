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

/// Who gets the sums: everybody all of them, or each element's owner alone.
enum class SumsFor : std::uint8_t { AllRanks, Owners };

/// Sums gradients over all ranks, and shares what their owners made of them. A buffer is summed
/// bucket by bucket, in place; sums, never averages: the loss was already divided by the global
/// target count.
///
/// Collective: start(), wait(), share() and allocate(); ranks without samples call them too, with
/// zeros. All ranks pass buffers of the same counts and types, and buckets in the same order.
/// Thread-safety: one thread at a time.
/// Throws: CommunicatorError; the buffers are then unspecified.
class GradientReducer {
 public:
  virtual ~GradientReducer() = default;

  /// The buckets of a buffer of `count` elements, and who owns which elements.
  virtual BufferPartition partition(std::int64_t count) const = 0;

  /// Begins to sum one bucket of a buffer. Until wait() the bucket is the reducer's. With
  /// SumsFor::AllRanks all ranks end with the same bits; with SumsFor::Owners a rank has sums of
  /// what it owns, and what it has elsewhere is unspecified.
  virtual void start(const FlatBuffer& gradients, std::int64_t bucket, SumsFor whom) = 0;
  /// Returns when all that was started is done.
  virtual void wait() = 0;
  /// Whether start() returns before the work is done, so that it pays to call it during the
  /// backward pass.
  virtual bool overlaps() const { return false; }

  /// Every owner's elements on every rank, in place.
  virtual void share(std::span<const FlatBuffer> values) = 0;

  /// Memory, all zero, in which gradients are summed faster than in any other. Null: any is as
  /// good. It may outlive the reducer.
  virtual std::shared_ptr<std::byte> allocate(std::int64_t bytes) = 0;

  /// Whether it sums in the order of a fixed binary tree over the ranks, ((0 + 1) + (2 + 3)), and
  /// for all ranks even where only the owners are asked for.
  virtual bool is_deterministic() const { return false; }
};

}  // namespace hone

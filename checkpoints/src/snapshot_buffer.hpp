#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hone/core/checkpoint_store.hpp"

namespace hone::checkpoints::detail {

/// Memory into which tensors are copied, so that training may change them while the copies are
/// written. Kept from one save to the next: new pages would cost more than the copy.
class SnapshotBuffer {
 public:
  SnapshotBuffer() = default;
  ~SnapshotBuffer();
  SnapshotBuffer(const SnapshotBuffer&) = delete;
  SnapshotBuffer& operator=(const SnapshotBuffer&) = delete;

  /// Makes room for such tensors, all of its pages present. Throws: std::bad_alloc.
  void reserve(std::span<const TensorBytes> tensors);
  /// The same tensors with bytes in here, until the next copy. Throws: std::bad_alloc, and what a
  /// tensor's fetch throws.
  std::vector<TensorBytes> copy(std::span<const TensorBytes> tensors);

 private:
  void release();

  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace hone::checkpoints::detail

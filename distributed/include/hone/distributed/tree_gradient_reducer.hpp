#pragma once

#include <span>

#include "hone/core/communicator.hpp"
#include "hone/core/gradient_reducer.hpp"

namespace hone::distributed {

/// Sums gradients in the order of a fixed binary tree over the ranks, ((0 + 1) + (2 + 3)), so that
/// the bits do not depend on how a communicator reduces. Every rank reads all ranks' gradients: the
/// traffic is the number of ranks times that of an all-reduce.
///
/// Ownership: the communicator must outlive this.
class TreeGradientReducer final : public GradientReducer {
 public:
  explicit TreeGradientReducer(Communicator& comm) : comm_(comm) {}

  /// One bucket.
  BufferPartition partition(std::int64_t count) const override { return {count, comm_.size()}; }
  void start(const FlatBuffer& gradients, std::int64_t bucket, SumsFor whom) override;
  void wait() override {}
  void share(std::span<const FlatBuffer> values) override;
  /// All ranks' gradients are copied before they are added: it has no use for memory of its own.
  std::shared_ptr<std::byte> allocate(std::int64_t) override { return nullptr; }
  bool is_deterministic() const override { return true; }

 private:
  Communicator& comm_;
};

}  // namespace hone::distributed

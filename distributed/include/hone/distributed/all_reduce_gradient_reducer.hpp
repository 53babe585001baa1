#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/core/gradient_reducer.hpp"
#include "hone/distributed/device.hpp"

namespace hone::distributed {

struct ReducerOptions {
  /// Units: bytes of gradients that are communicated at once.
  std::int64_t bucket_bytes = std::numeric_limits<std::int64_t>::max();
  /// Send float32 gradients as bfloat16: half the traffic. Each rank's gradient is rounded once
  /// before the sum, and the sum once or more behind it (see Communicator::all_reduce), each time
  /// by at most 2^-8 of the number.
  bool bfloat16_on_wire = false;
};

/// Sums by a communicator's own all-reduce and reduce-scatter, during the backward pass where they
/// go on by themselves.
///
/// Ownership: communicator and device must outlive this.
class AllReduceGradientReducer final : public GradientReducer {
 public:
  /// `device`: where the gradients are; null: in host memory.
  explicit AllReduceGradientReducer(Communicator& comm, ReducerOptions options = {},
                                    Device* device = nullptr);

  BufferPartition partition(std::int64_t count) const override;
  void start(const FlatBuffer& gradients, std::int64_t bucket, SumsFor whom) override;
  void wait() override;
  bool overlaps() const override { return comm_.is_asynchronous(); }
  void share(std::span<const FlatBuffer> values) override;
  std::shared_ptr<std::byte> allocate(std::int64_t bytes) override { return comm_.allocate(bytes); }

 private:
  /// A bucket that was sent as bfloat16 and is to be widened into place.
  struct Narrowed {
    std::shared_ptr<std::byte> wire;
    FlatBuffer values;         ///< of the bucket
    ElementRange wanted;       ///< elements of it whose sums are this rank's
  };

  bool is_sent_narrow(const FlatBuffer& buffer) const;
  FlatBuffer narrowed(const FlatBuffer& values, const ElementRange& wanted);
  void widen_all();

  Communicator& comm_;
  ReducerOptions options_;
  CpuDevice cpu_;
  Device& device_;
  std::vector<Narrowed> narrowed_;                     ///< started, in their order
  std::vector<std::shared_ptr<std::byte>> free_wires_;  ///< each for a bucket of the largest size
};

}  // namespace hone::distributed

#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>

#include "hone/core/communicator.hpp"
#include "hone/core/gradient_reducer.hpp"

namespace hone::distributed {

struct ReducerOptions {
  /// Units: bytes of gradients that are communicated at once.
  std::int64_t bucket_bytes = std::numeric_limits<std::int64_t>::max();
  /// Send float32 gradients as bfloat16: half the traffic. Each rank's gradient is rounded once before
  /// the sum, and the sum once or more behind it (see Communicator::all_reduce), each time by at most
  /// 2^-8 of the number.
  bool bfloat16_on_wire = false;
};

/// Sums by a communicator's own all_reduce and reduce_scatter, bucket by bucket.
///
/// Ownership: the communicator must outlive this.
class AllReduceGradientReducer final : public GradientReducer {
 public:
  explicit AllReduceGradientReducer(Communicator& comm, ReducerOptions options = {});

  void reduce(std::span<const FlatBuffer> gradients) override;
  BufferPartition partition(std::int64_t count) const override;
  void reduce_to_owners(std::span<const FlatBuffer> gradients) override;
  void share(std::span<const FlatBuffer> values) override;
  std::shared_ptr<std::byte> allocate(std::int64_t bytes) override { return comm_.allocate(bytes); }

 private:
  bool is_sent_narrow(const FlatBuffer& buffer) const;
  std::uint16_t* narrowed(const float* values, std::int64_t count);

  Communicator& comm_;
  ReducerOptions options_;
  std::shared_ptr<std::byte> wire_;  ///< a bucket in bfloat16; allocated when first needed
  std::int64_t wire_count_ = 0;      ///< elements of that
};

}  // namespace hone::distributed

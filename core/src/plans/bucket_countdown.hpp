#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "hone/core/buffer_partition.hpp"

namespace hone::detail {

/// Decides when which bucket of gradients may be sent while the backward pass still runs: when all
/// gradients in it are complete, but always in one order, which is the same on all ranks; else
/// ranks would wait for each other for ever. A gradient may be written several times in a pass
/// (tied weights): how often, it learns from the passes before, so nothing is sent early in the
/// first. Thread-safety: one thread.
class BucketCountdown {
 public:
  /// Where a parameter's gradient lies. Parameters come in the order of the model's layers.
  struct Place {
    std::size_t buffer = 0;
    ElementRange range;
  };
  struct Bucket {
    std::size_t buffer = 0;
    std::int64_t index = 0;  ///< in that buffer's partition
    bool operator==(const Bucket&) const = default;
  };
  using Start = std::function<void(const Bucket&)>;

  /// `partitions`: of each buffer. `start` is called once for each bucket of a pass.
  BucketCountdown(std::span<const Place> parameters, std::span<const BufferPartition> partitions,
                  Start start);

  /// The last backward pass of an update begins: from now on complete buckets are started. Nobody
  /// waits for the gradients of the `frozen` parameters, which are the same on all ranks.
  void begin(std::span<const std::size_t> frozen = {});
  /// The gradient of a parameter was written. Outside of begin() and finish() it does not count.
  /// Throws: Error (Internal) where its bucket has been started already.
  void wrote(std::size_t parameter);
  /// The pass is over, or there was none here: all other buckets are started. Of one that failed
  /// nothing is learnt.
  void finish(bool has_succeeded = true);

 private:
  struct Parameter {
    std::vector<std::size_t> buckets;  ///< indices into order_
    bool is_frozen = false;            ///< in this pass
    int writes = 0;                    ///< in this pass
    int expected = 0;                  ///< in a pass; 0: not known yet
  };

  void start_complete_ones();

  Start start_;
  std::vector<Bucket> order_;
  std::vector<Parameter> parameters_;
  std::vector<int> incomplete_;  ///< parameters of each bucket whose gradients are not complete
  std::size_t num_started_ = 0;
  bool is_running_ = false;
};

}  // namespace hone::detail

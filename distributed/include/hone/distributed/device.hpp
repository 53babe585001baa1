#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "hone/distributed/nccl_api.hpp"

namespace hone::distributed {

/// Where a rank computes, as far as its communication has to know: collectives are queued on a stream
/// of their own, which waits for the computing stream and is waited for by it, never by the host.
/// On the CPU there are no queues: everything is done when the call returns.
/// Thread-safety: one thread at a time.
class Device {
 public:
  virtual ~Device() = default;
  virtual std::string_view kind() const = 0;  ///< "cpu", "cuda"
  virtual int index() const = 0;              ///< among the node's devices of this kind
  virtual std::string uuid() const = 0;       ///< of the hardware; empty for a CPU

  /// The stream that NCCL's calls are queued on; null where there are none.
  virtual NcclStream communication_stream() = 0;
  /// What is queued for communication from now on starts after what is queued for computing so far.
  virtual void communication_after_computing() = 0;
  /// The other way round.
  virtual void computing_after_communication() = 0;
  /// Whether all communication that was queued has been done. Does not wait.
  virtual bool communication_is_done() = 0;
};

/// The processor and host memory.
std::unique_ptr<Device> make_cpu_device();

}  // namespace hone::distributed

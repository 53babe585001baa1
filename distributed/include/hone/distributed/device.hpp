#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "hone/distributed/nccl_api.hpp"

namespace hone::distributed {

/// Where a rank computes, as far as its communication has to know: collectives are queued on a
/// stream of their own, which waits for the computing stream and is waited for by it, never by the
/// host. On the CPU there are no queues: everything is done when the call returns. Thread-safety:
/// one thread at a time.
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

  /// Memory of this device for buffers that are communicated; unspecified bytes.
  virtual std::shared_ptr<std::byte> allocate(std::int64_t bytes) = 0;
  /// Queued for computing: `count` float32 numbers rounded to nearest bfloat16, and back.
  virtual void narrow(const float* from, std::uint16_t* into, std::int64_t count) = 0;
  virtual void widen(const std::uint16_t* from, float* into, std::int64_t count) = 0;
};

/// The processor and host memory: everything is done when a call returns.
class CpuDevice : public Device {
 public:
  std::string_view kind() const override { return "cpu"; }
  int index() const override { return 0; }
  std::string uuid() const override { return {}; }
  NcclStream communication_stream() override { return nullptr; }
  void communication_after_computing() override {}
  void computing_after_communication() override {}
  bool communication_is_done() override { return true; }
  std::shared_ptr<std::byte> allocate(std::int64_t bytes) override;
  void narrow(const float* from, std::uint16_t* into, std::int64_t count) override;
  void widen(const std::uint16_t* from, float* into, std::int64_t count) override;
};

}  // namespace hone::distributed

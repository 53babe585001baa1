#pragma once

#include <atomic>
#include <cstdint>

namespace hone::testing {

/// What the fake NCCL and the fake device share: the stream that collectives are queued on, which
/// is all that NcclStream points to here.
struct FakeStream {
  std::atomic<std::int64_t> launched{0};
  std::atomic<std::int64_t> done{0};
  /// Waits for what was queued for computing; each launch uses that up.
  std::atomic<bool> after_computing{false};
};

}  // namespace hone::testing

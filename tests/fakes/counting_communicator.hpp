#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fakes/forwarding_communicator.hpp"

namespace hone::testing {

/// Counts what this rank sends to others with all_to_all_bytes(), and in how many calls.
class CountingCommunicator final : public ForwardingCommunicator {
 public:
  using ForwardingCommunicator::ForwardingCommunicator;

  std::vector<std::vector<std::byte>> all_to_all_bytes(
      std::span<const std::vector<std::byte>> to) override {
    ++exchanges_;
    for (const auto& bytes : to) sent_ += static_cast<std::int64_t>(bytes.size());
    return inner().all_to_all_bytes(to);
  }

  std::int64_t exchanges() const { return exchanges_; }
  /// Units: bytes.
  std::int64_t sent() const { return sent_; }

 private:
  std::int64_t exchanges_ = 0;
  std::int64_t sent_ = 0;
};

}  // namespace hone::testing

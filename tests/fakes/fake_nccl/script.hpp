#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hone/distributed/nccl_api.hpp"

namespace hone::testing {

enum class FaultKind : std::uint8_t { None, Error, AsyncError, ErrorAfter, Hang, Block, Corrupt, Slow };

/// What goes wrong in one place.
struct Fault {
  int rank = -1;        ///< -1: every rank
  std::string place;    ///< "op37", "group", "id", "init", "finalize", "abort"
  FaultKind kind = FaultKind::None;
  distributed::NcclResult error = distributed::NcclResult::Success;
  std::chrono::milliseconds slow{0};
};

/// The faults of FAKENCCL; its language is in README.md.
class Script {
 public:
  Script() = default;
  /// Ends the process where `text` is malformed: a fault that never happens would let any test
  /// pass.
  explicit Script(std::string_view text);

  /// The fault of this rank in this place; of kind None where there is none.
  Fault at(int rank, const std::string& place) const;

 private:
  std::vector<Fault> faults_;
};

/// Ends the process at once with exit code 99 and a line about wrong use of NCCL, or a wrong
/// script.
[[noreturn]] void violation(const std::string& what);

}  // namespace hone::testing

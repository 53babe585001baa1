#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hone/distributed/collective_call.hpp"

namespace hone::distributed {

/// Collectives that a heartbeat tells of: enough that those of any two ranks overlap.
constexpr std::size_t kRecentCalls = 1024;

/// What a rank's heartbeat says.
struct Pulse {
  std::string phase;       ///< what it is at; empty before it begins
  double phase_p99 = 0.0;  ///< seconds that 99 of 100 such phases took; 0 where that says nothing
  std::int64_t num_phases = 0;  ///< entered so far, `phase` the last
  std::int64_t step = 0;        ///< optimizer updates applied
  std::int64_t sequence = 0;  ///< collectives begun
  bool in_collective = false;
  bool is_leaving = false;    ///< its work is done: it waits for the others' end
  std::vector<CollectiveCall> recent;  ///< the last ones up to `sequence`, oldest first

  bool operator==(const Pulse&) const = default;
};

std::string to_bytes(const Pulse& pulse);
/// Throws: InputError for bytes that are none.
Pulse pulse_of(std::string_view bytes);

}  // namespace hone::distributed

#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hone {

class Communicator;
class ParameterStore;

namespace detail {

/// A number for each tensor that changes with any one or two flipped bits in it: the sum of its
/// 32-bit words, each times another odd number, modulo 2^64.
using Digests = std::vector<std::int64_t>;

/// Of this rank's parameters, in their order. Waits once for the device.
Digests digests_of(const ParameterStore& parameters);

/// One number for all of them, for ranks to compare first.
std::int64_t folded(const Digests& digests);

/// Which rank and which tensor differ where the ranks do not all hold the same parameters; empty
/// where they do. Of two ranks nobody knows which one is wrong; of more it is the odd one.
/// Collective.
std::string difference_of(Communicator& comm, const Digests& digests,
                          const ParameterStore& parameters);

/// One small message where all is well. Collective. Throws: CommunicatorError naming a rank and a
/// tensor that differ.
void require_equal_parameters(Communicator& comm, const ParameterStore& parameters);

}  // namespace detail
}  // namespace hone

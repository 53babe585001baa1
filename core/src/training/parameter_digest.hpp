#pragma once

#include <string>

namespace hone {

class Communicator;
class ParameterStore;

namespace detail {

/// Which rank and which tensor differ where the ranks do not all hold the same parameters; empty where they
/// do. Compared by a digest of each tensor, the sum of its 32-bit words: one that differs in any one word has
/// another. One small message where all is well. Of two ranks nobody knows which one is wrong; of more it
/// is the odd one.
/// Collective.
std::string replica_difference(Communicator& comm, const ParameterStore& parameters);

/// Collective. Throws: CommunicatorError naming a rank and a tensor that differ.
void require_equal_parameters(Communicator& comm, const ParameterStore& parameters);

}  // namespace detail
}  // namespace hone

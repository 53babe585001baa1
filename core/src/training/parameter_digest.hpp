#pragma once

#include <cstdint>

namespace hone {

class Communicator;
class ParameterStore;

namespace detail {

/// A number that replicas with equal parameters share, and others practically never do: each parameter's
/// 32-bit words summed, the sums combined in order. Cheap enough for every start and resume.
std::int64_t parameter_digest(const ParameterStore& parameters);

/// Collective. Throws: CommunicatorError naming a rank whose parameters differ from rank 0's.
void require_equal_parameters(Communicator& comm, const ParameterStore& parameters);

}  // namespace detail
}  // namespace hone

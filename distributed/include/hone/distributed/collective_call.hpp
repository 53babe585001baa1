#pragma once

#include <cstdint>
#include <string>

#include "hone/core/communicator.hpp"
#include "hone/core/dtype.hpp"

namespace hone::distributed {

enum class Operation : std::uint8_t {
  AllReduce,
  Broadcast,
  AllGatherBytes,
  Barrier,
  ReduceScatter,
  AllGather,
  Allocate,
  AllToAllBytes,
  Wait,  ///< stays the last
};

/// What one rank asks for in one collective, less its buffers: equal on all ranks, or they are out
/// of step. Fields that an operation does not have keep their defaults.
struct CollectiveCall {
  Operation operation = Operation::Barrier;
  std::int64_t count = 0;  ///< elements; of a block, where every rank has one; of Allocate, bytes
  DType dtype = DType::UInt8;
  ReduceOp reduce_op = ReduceOp::Sum;
  int root = 0;

  bool operator==(const CollectiveCall&) const = default;
};

CollectiveCall all_reduce_call(std::int64_t count, DType dtype, ReduceOp op);
CollectiveCall reduce_scatter_call(std::int64_t block, DType dtype, ReduceOp op);
CollectiveCall all_gather_call(std::int64_t block, DType dtype);
CollectiveCall broadcast_call(std::int64_t count, DType dtype, int root);
CollectiveCall all_gather_bytes_call();
CollectiveCall all_to_all_bytes_call();
CollectiveCall barrier_call();
CollectiveCall allocate_call(std::int64_t bytes);
CollectiveCall wait_call();

/// The call as messages show it: "all_reduce(sum, 4 x float32)", "broadcast(3 x int64, root 1)".
std::string describe(const CollectiveCall& call);

/// Refuses what no communicator can do: a negative count, a null buffer with elements, a root
/// outside [0, size), sums of UInt8. Checked before anybody communicates: all ranks pass the same
/// arguments, so all throw.
/// Throws: CommunicatorError.
void require_valid(const CollectiveCall& call, const void* data, int size);

}  // namespace hone::distributed

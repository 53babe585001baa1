#include "hone/distributed/collective_call.hpp"

#include "hone/core/error.hpp"

namespace hone::distributed {
namespace {

std::string_view name_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::Sum: return "sum";
    case ReduceOp::Min: return "min";
    case ReduceOp::Max: return "max";
  }
  return "unknown";
}

std::string elements(const CollectiveCall& call) {
  return std::to_string(call.count) + " x " + std::string{hone::name_of(call.dtype)};
}

[[noreturn]] void refuse(const CollectiveCall& call, const std::string& why) {
  throw CommunicatorError{describe(call) + ": " + why + "; nothing was communicated"};
}

}  // namespace

CollectiveCall all_reduce_call(std::int64_t count, DType dtype, ReduceOp op) {
  return {.operation = Operation::AllReduce, .count = count, .dtype = dtype, .reduce_op = op};
}

CollectiveCall reduce_scatter_call(std::int64_t block, DType dtype, ReduceOp op) {
  return {.operation = Operation::ReduceScatter, .count = block, .dtype = dtype, .reduce_op = op};
}

CollectiveCall all_gather_call(std::int64_t block, DType dtype) {
  return {.operation = Operation::AllGather, .count = block, .dtype = dtype};
}

CollectiveCall broadcast_call(std::int64_t count, DType dtype, int root) {
  return {.operation = Operation::Broadcast, .count = count, .dtype = dtype, .root = root};
}

CollectiveCall all_gather_bytes_call() { return {.operation = Operation::AllGatherBytes}; }

CollectiveCall all_to_all_bytes_call() { return {.operation = Operation::AllToAllBytes}; }

CollectiveCall barrier_call() { return {.operation = Operation::Barrier}; }

CollectiveCall allocate_call(std::int64_t bytes) {
  return {.operation = Operation::Allocate, .count = bytes};
}

CollectiveCall wait_call() { return {.operation = Operation::Wait}; }

std::string describe(const CollectiveCall& call) {
  switch (call.operation) {
    case Operation::AllReduce:
      return "all_reduce(" + std::string{name_of(call.reduce_op)} + ", " + elements(call) + ")";
    case Operation::ReduceScatter:
      return "reduce_scatter(" + std::string{name_of(call.reduce_op)} + ", " + elements(call) +
             " a rank)";
    case Operation::AllGather: return "all_gather(" + elements(call) + " a rank)";
    case Operation::Broadcast:
      return "broadcast(" + elements(call) + ", root " + std::to_string(call.root) + ")";
    case Operation::AllGatherBytes: return "all_gather_bytes()";
    case Operation::AllToAllBytes: return "all_to_all_bytes()";
    case Operation::Barrier: return "barrier()";
    case Operation::Wait: return "wait()";
    case Operation::Allocate: return "allocate(" + std::to_string(call.count) + " bytes)";
  }
  return "unknown operation";
}

void require_valid(const CollectiveCall& call, const void* data, int size) {
  if (call.count < 0) refuse(call, "the count is negative");
  if (call.count > 0 && data == nullptr && call.operation != Operation::Allocate) refuse(call, "the buffer is null");
  if (call.root < 0 || call.root >= size) {
    refuse(call, "the root must be in [0, " + std::to_string(size) + ")");
  }
  const bool reduces =
      call.operation == Operation::AllReduce || call.operation == Operation::ReduceScatter;
  if (reduces && call.reduce_op == ReduceOp::Sum &&
      call.dtype == DType::UInt8) {
    refuse(call, "uint8 takes min and max only, its sums would overflow; widen to int64");
  }
}

}  // namespace hone::distributed

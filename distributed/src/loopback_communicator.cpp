#include "hone/distributed/loopback_communicator.hpp"

#include "hone/distributed/collective_call.hpp"
#include "hone/core/error.hpp"

namespace hone::distributed {

void LoopbackCommunicator::all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) {
  require_not_aborted();
  require_valid(all_reduce_call(count, dtype, op), data, size());
}

void LoopbackCommunicator::reduce_scatter(void* data, std::int64_t block, DType dtype,
                                          ReduceOp op) {
  require_not_aborted();
  require_valid(reduce_scatter_call(block, dtype, op), data, size());
}

void LoopbackCommunicator::all_gather(void* data, std::int64_t block, DType dtype) {
  require_not_aborted();
  require_valid(all_gather_call(block, dtype), data, size());
}

void LoopbackCommunicator::broadcast(void* data, std::int64_t count, DType dtype, int root) {
  require_not_aborted();
  require_valid(broadcast_call(count, dtype, root), data, size());
}

std::vector<std::vector<std::byte>> LoopbackCommunicator::all_gather_bytes(
    std::span<const std::byte> mine) {
  require_not_aborted();
  return {std::vector<std::byte>(mine.begin(), mine.end())};
}

void LoopbackCommunicator::barrier() { require_not_aborted(); }

void LoopbackCommunicator::abort(int exit_code) {
  if (!abort_code_) abort_code_ = exit_code;
}

void LoopbackCommunicator::require_not_aborted() const {
  if (!abort_code_) return;
  throw CommunicatorError{"the job was aborted with exit code " + std::to_string(*abort_code_),
                          static_cast<ExitCode>(*abort_code_)};
}

}  // namespace hone::distributed

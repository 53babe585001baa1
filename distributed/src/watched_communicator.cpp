#include "hone/distributed/watched_communicator.hpp"

namespace hone::distributed {
namespace {

/// One collective in the recorder, whichever way it ends.
class Recorded {
 public:
  Recorded(FlightRecorder& recorder, const CollectiveCall& call) : recorder_(recorder) {
    recorder_.begin(call);
  }
  ~Recorded() { recorder_.end(); }
  Recorded(const Recorded&) = delete;
  Recorded& operator=(const Recorded&) = delete;

 private:
  FlightRecorder& recorder_;
};

}  // namespace

void WatchedCommunicator::all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) {
  const Recorded recorded{recorder_, all_reduce_call(count, dtype, op)};
  inner_->all_reduce(data, count, dtype, op);
}

void WatchedCommunicator::reduce_scatter(void* data, std::int64_t block, DType dtype,
                                         ReduceOp op) {
  const Recorded recorded{recorder_, reduce_scatter_call(block, dtype, op)};
  inner_->reduce_scatter(data, block, dtype, op);
}

void WatchedCommunicator::all_gather(void* data, std::int64_t block, DType dtype) {
  const Recorded recorded{recorder_, all_gather_call(block, dtype)};
  inner_->all_gather(data, block, dtype);
}

void WatchedCommunicator::all_gathers(std::span<const RankBlocks> all) {
  // One by one, as most communicators make them: then each is waited for in its own record.
  if (!is_asynchronous() || all.empty()) return Communicator::all_gathers(all);
  for (const auto& each : all.first(all.size() - 1)) {
    const Recorded recorded{recorder_, all_gather_call(each.block, each.dtype)};
  }
  // All are waited for in the last one.
  const Recorded recorded{recorder_, all_gather_call(all.back().block, all.back().dtype)};
  inner_->all_gathers(all);
}

void WatchedCommunicator::broadcast(void* data, std::int64_t count, DType dtype, int root) {
  const Recorded recorded{recorder_, broadcast_call(count, dtype, root)};
  inner_->broadcast(data, count, dtype, root);
}

std::vector<std::vector<std::byte>> WatchedCommunicator::all_gather_bytes(
    std::span<const std::byte> mine) {
  const Recorded recorded{recorder_, all_gather_bytes_call()};
  return inner_->all_gather_bytes(mine);
}

std::vector<std::vector<std::byte>> WatchedCommunicator::all_to_all_bytes(
    std::span<const std::vector<std::byte>> to) {
  const Recorded recorded{recorder_, all_to_all_bytes_call()};
  return inner_->all_to_all_bytes(to);
}

void WatchedCommunicator::barrier() {
  const Recorded recorded{recorder_, barrier_call()};
  inner_->barrier();
}

void WatchedCommunicator::start_all_reduce(void* data, std::int64_t count, DType dtype,
                                           ReduceOp op) {
  const Recorded recorded{recorder_, all_reduce_call(count, dtype, op)};
  inner_->start_all_reduce(data, count, dtype, op);
}

void WatchedCommunicator::start_reduce_scatter(void* data, std::int64_t block, DType dtype,
                                               ReduceOp op) {
  const Recorded recorded{recorder_, reduce_scatter_call(block, dtype, op)};
  inner_->start_reduce_scatter(data, block, dtype, op);
}

void WatchedCommunicator::wait() {
  if (!is_asynchronous()) return;
  const Recorded recorded{recorder_, wait_call()};
  inner_->wait();
}

std::shared_ptr<std::byte> WatchedCommunicator::allocate(std::int64_t bytes) {
  const Recorded recorded{recorder_, allocate_call(bytes)};
  return inner_->allocate(bytes);
}

}  // namespace hone::distributed

#include "hone/distributed/nccl_communicator.hpp"

#include <algorithm>
#include <map>

#include "hone/core/error.hpp"
#include "nccl_handle.hpp"

namespace hone::distributed {
namespace {

/// NCCL takes 2,048 calls in a group.
constexpr std::size_t kMaxGroup = 1024;

NcclDataType nccl_type(DType dtype) {
  switch (dtype) {
    case DType::UInt8: return NcclDataType::UInt8;
    case DType::Int64: return NcclDataType::Int64;
    case DType::Float32: return NcclDataType::Float32;
    case DType::Float64: return NcclDataType::Float64;
    case DType::BFloat16: return NcclDataType::BFloat16;
    case DType::Float16: return NcclDataType::Float16;
  }
  return NcclDataType::UInt8;
}

NcclReduceOp nccl_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::Sum: return NcclReduceOp::Sum;
    case ReduceOp::Min: return NcclReduceOp::Min;
    case ReduceOp::Max: return NcclReduceOp::Max;
  }
  return NcclReduceOp::Sum;
}

/// This rank's block of the blocks of all.
void* own_block(void* data, std::int64_t block, DType dtype, int rank) {
  return static_cast<std::byte*>(data) + rank * block * size_of(dtype);
}

/// What the ranks saw, each thing once with its ranks: "rank 2: ...; rank 0, 1: ...". Ranks that
/// only waited in vain say less than the one that they waited for, and come last.
std::string summary(const std::vector<std::string>& problems) {
  std::map<std::string, std::string> ranks;
  for (std::size_t rank = 0; rank < problems.size(); ++rank) {
    if (problems[rank].empty()) continue;
    auto& list = ranks[problems[rank]];
    list += (list.empty() ? "" : ", ") + std::to_string(rank);
  }
  std::string first;
  std::string last;
  for (const auto& [problem, list] : ranks) {
    auto& part = problem.starts_with("not done") ? last : first;
    part += (part.empty() ? "rank " : "; rank ") + list + ": " + problem;
  }
  return first + (first.empty() || last.empty() ? "" : "; ") + last;
}

/// Throws on every rank where one failed.
void require_initialised(Communicator& host, const LocalFailure& failure) {
  const auto problems = summary(all_gather_strings(host, failure.message));
  if (problems.empty()) return;
  throw LaunchError{"NCCL cannot be initialised: " + problems +
                    ". NCCL_DEBUG=INFO makes it say more"};
}

}  // namespace

NcclCommunicator::NcclCommunicator(const NcclApi& api, Device& device, Communicator& host,
                                   const NcclTimes& times)
    : device_(device),
      host_(host),
      times_(times),
      nccl_(std::make_unique<detail::NcclHandle>(api, times)) {
  NcclUniqueId id{};
  require_initialised(host_, failure_of([&] {
    if (host_.rank() == 0) id = nccl_->make_unique_id();
  }));
  host_.broadcast(id.bytes, sizeof(id.bytes), DType::UInt8, 0);
  require_initialised(host_,
                      failure_of([&] { nccl_->open(id, host_.rank(), host_.size()); }));
}

NcclCommunicator::~NcclCommunicator() = default;

void NcclCommunicator::start_all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) {
  start(all_reduce_call(count, dtype, op), data, "ncclAllReduce",
        [&](const NcclApi& api, NcclComm comm) {
          return api.all_reduce(data, data, static_cast<std::size_t>(count), nccl_type(dtype),
                                nccl_op(op), comm, device_.communication_stream());
        });
}

void NcclCommunicator::start_reduce_scatter(void* data, std::int64_t block, DType dtype,
                                            ReduceOp op) {
  start(reduce_scatter_call(block, dtype, op), data, "ncclReduceScatter",
        [&](const NcclApi& api, NcclComm comm) {
          return api.reduce_scatter(data, own_block(data, block, dtype, rank()),
                                    static_cast<std::size_t>(block), nccl_type(dtype), nccl_op(op),
                                    comm, device_.communication_stream());
        });
}

void NcclCommunicator::all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) {
  start_all_reduce(data, count, dtype, op);
  wait();
}

void NcclCommunicator::reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) {
  start_reduce_scatter(data, block, dtype, op);
  wait();
}

void NcclCommunicator::all_gather(void* data, std::int64_t block, DType dtype) {
  start(all_gather_call(block, dtype), data, "ncclAllGather",
        [&](const NcclApi& api, NcclComm comm) {
          return queue_all_gather(api, comm, {data, block, dtype});
        });
  wait();
}

void NcclCommunicator::all_gathers(std::span<const RankBlocks> all) {
  require_open("all_gathers");
  for (const auto& each : all) accept(all_gather_call(each.block, each.dtype), each.data);
  for (const auto& each : all) begin(all_gather_call(each.block, each.dtype));
  guarded([&] {
    for (; !all.empty(); all = all.subspan(std::min(kMaxGroup, all.size()))) {
      queue_all_gathers(all.first(std::min(kMaxGroup, all.size())));
    }
  });
  wait();
}

void NcclCommunicator::queue_all_gathers(std::span<const RankBlocks> group) {
  start_queueing();
  nccl_->queue_group([&] {
    for (const auto& each : group) {
      if (each.block == 0) continue;
      nccl_->queue("ncclAllGather", [&](const NcclApi& api, NcclComm comm) {
        return queue_all_gather(api, comm, each);
      });
    }
  });
}

NcclResult NcclCommunicator::queue_all_gather(const NcclApi& api, NcclComm comm,
                                              const RankBlocks& blocks) {
  const auto [data, block, dtype] = blocks;
  return api.all_gather(own_block(data, block, dtype, rank()), data,
                        static_cast<std::size_t>(block), nccl_type(dtype), comm,
                        device_.communication_stream());
}

void NcclCommunicator::broadcast(void* data, std::int64_t count, DType dtype, int root) {
  start(broadcast_call(count, dtype, root), data, "ncclBroadcast",
        [&](const NcclApi& api, NcclComm comm) {
          return api.broadcast(data, data, static_cast<std::size_t>(count), nccl_type(dtype), root,
                               comm, device_.communication_stream());
        });
  wait();
}

std::vector<std::vector<std::byte>> NcclCommunicator::all_gather_bytes(
    std::span<const std::byte> mine) {
  std::vector<std::vector<std::byte>> gathered;
  run_on_host(all_gather_bytes_call(), [&] { gathered = host_.all_gather_bytes(mine); });
  return gathered;
}

std::vector<std::vector<std::byte>> NcclCommunicator::all_to_all_bytes(
    std::span<const std::vector<std::byte>> to) {
  require_one_for_each_rank(to);
  std::vector<std::vector<std::byte>> from;
  run_on_host(all_to_all_bytes_call(), [&] { from = host_.all_to_all_bytes(to); });
  return from;
}

void NcclCommunicator::barrier() {
  run_on_host(barrier_call(), [&] { host_.barrier(); });
}

void NcclCommunicator::wait() {
  require_open("waiting");
  if (pending_.empty()) return;
  guarded([&] {
    // In this order: before NCCL has launched everything, the stream may look idle.
    nccl_->poll(times_.collective,
                [&] { return nccl_->is_settled() && device_.communication_is_done(); });
    device_.computing_after_communication();
  });
  pending_.clear();
}

void NcclCommunicator::close() {
  if (!end_.empty()) return;
  wait();
  guarded([&] { nccl_->close(); });
  end_ = "the communicator was closed";
}

void NcclCommunicator::abort(int exit_code) {
  nccl_->abort();
  end_ = "this rank aborted the job with exit code " + std::to_string(exit_code);
  host_.abort(exit_code);
}

void NcclCommunicator::accept(const CollectiveCall& call, const void* data) const {
  require_open(describe(call));
  require_valid(call, data, size());
}

void NcclCommunicator::require_open(const std::string& what) const {
  if (!end_.empty()) throw CommunicatorError{what + " refused: " + end_, end_code_};
}

void NcclCommunicator::begin(const CollectiveCall& call) {
  ++sequence_;
  pending_.push_back(call);
}

void NcclCommunicator::start_queueing() {
  // NCCL takes nothing new before it has launched what it was given last.
  nccl_->poll(times_.collective, [&] { return nccl_->is_settled(); });
  device_.communication_after_computing();
}

template <typename Queue>
void NcclCommunicator::start(const CollectiveCall& call, const void* data,
                             std::string_view function, Queue queue) {
  accept(call, data);
  begin(call);
  guarded([&] {
    start_queueing();
    if (call.count > 0) nccl_->queue(function, queue);
  });
}

template <typename Function>
void NcclCommunicator::run_on_host(const CollectiveCall& call, Function function) {
  accept(call, nullptr);
  wait();
  begin(call);
  guarded(function);
  pending_.clear();
}

template <typename Function>
void NcclCommunicator::guarded(Function function) {
  const auto failure = failure_of(function);
  if (!failure.happened()) return;
  const auto abort_problem = nccl_->abort();
  const auto text = "[rank " + std::to_string(rank()) + " of " + std::to_string(size()) + "] " +
                    pending_text() + " failed: " + failure.message +
                    (abort_problem.empty() ? "" : "; " + abort_problem);
  end_ = "the communicator is unusable after " + text;
  end_code_ = failure.code;
  throw CommunicatorError{text, failure.code};
}

std::string NcclCommunicator::pending_text() const {
  if (pending_.empty()) return "closing after collective " + std::to_string(sequence_);
  const auto last = std::to_string(sequence_) + ", " + describe(pending_.back()) + ",";
  if (pending_.size() == 1) return "collective " + last;
  const auto first = sequence_ - static_cast<std::int64_t>(pending_.size()) + 1;
  return "one of the collectives from " + std::to_string(first) + ", " +
         describe(pending_.front()) + ", to " + last;
}

}  // namespace hone::distributed

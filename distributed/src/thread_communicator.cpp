#include "thread_communicator.hpp"

#include <cstring>

#include "chunk_plan.hpp"
#include "reduce_kernels.hpp"

namespace hone::distributed::detail {
namespace {

/// Parts on every way out, so that no peer waits for a rank whose work threw.
class Parting {
 public:
  explicit Parting(Rendezvous& rendezvous) : rendezvous_(rendezvous) {}
  ~Parting() { rendezvous_.part(); }
  Parting(const Parting&) = delete;
  Parting& operator=(const Parting&) = delete;

 private:
  Rendezvous& rendezvous_;
};

}  // namespace

void ThreadCommunicator::all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) {
  const auto call = all_reduce_call(count, dtype, op);
  require_valid(call, data, size());
  rendezvous_.meet(rank_, {.call = call, .data = data, .bytes = {}});
  const Parting parting{rendezvous_};
  reduce_my_slice(count, dtype, op);
}

void ThreadCommunicator::reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) {
  const auto call = reduce_scatter_call(block, dtype, op);
  require_valid(call, data, size());
  rendezvous_.meet(rank_, {.call = call, .data = data, .bytes = {}});
  const Parting parting{rendezvous_};
  if (block == 0) return;
  void* const mine = data;
  reduce_in_order(everybodys_buffers(), {&mine, 1}, rank_ * block, block, dtype, op);
}

void ThreadCommunicator::all_gather(void* data, std::int64_t block, DType dtype) {
  const auto call = all_gather_call(block, dtype);
  require_valid(call, data, size());
  rendezvous_.meet(rank_, {.call = call, .data = data, .bytes = {}});
  const Parting parting{rendezvous_};
  const auto bytes = static_cast<std::size_t>(block * size_of(dtype));
  for (int other = 0; other < size() && block > 0; ++other) {
    if (other == rank_) continue;
    const auto* theirs = rendezvous_.postings()[static_cast<std::size_t>(other)].data;
    const auto place = static_cast<std::size_t>(other) * bytes;
    std::memcpy(static_cast<std::byte*>(data) + place,
                static_cast<const std::byte*>(theirs) + place, bytes);
  }
}

void ThreadCommunicator::broadcast(void* data, std::int64_t count, DType dtype, int root) {
  const auto call = broadcast_call(count, dtype, root);
  require_valid(call, data, size());
  rendezvous_.meet(rank_, {.call = call, .data = data, .bytes = {}});
  const Parting parting{rendezvous_};
  if (rank_ == root || count == 0) return;
  const void* source = rendezvous_.postings()[static_cast<std::size_t>(root)].data;
  std::memcpy(data, source, static_cast<std::size_t>(count * size_of(dtype)));
}

std::vector<std::vector<std::byte>> ThreadCommunicator::all_gather_bytes(
    std::span<const std::byte> mine) {
  rendezvous_.meet(rank_, {.call = all_gather_bytes_call(), .data = nullptr, .bytes = mine});
  const Parting parting{rendezvous_};
  std::vector<std::vector<std::byte>> gathered;
  gathered.reserve(rendezvous_.postings().size());
  for (const auto& posting : rendezvous_.postings()) {
    gathered.emplace_back(posting.bytes.begin(), posting.bytes.end());
  }
  return gathered;
}

std::vector<std::vector<std::byte>> ThreadCommunicator::all_to_all_bytes(
    std::span<const std::vector<std::byte>> to) {
  require_one_for_each_rank(to);
  rendezvous_.meet(rank_,
                   {.call = all_to_all_bytes_call(), .data = nullptr, .bytes = {}, .parts = to});
  const Parting parting{rendezvous_};
  std::vector<std::vector<std::byte>> from;
  from.reserve(rendezvous_.postings().size());
  for (const auto& posting : rendezvous_.postings()) {
    from.push_back(posting.parts[static_cast<std::size_t>(rank_)]);
  }
  return from;
}

void ThreadCommunicator::barrier() {
  // Nobody looks at anybody's buffers here: there is nothing to part from.
  rendezvous_.meet(rank_, {.call = barrier_call(), .data = nullptr, .bytes = {}});
}

void ThreadCommunicator::abort(int exit_code) { rendezvous_.abort(rank_, exit_code); }

void ThreadCommunicator::reduce_my_slice(std::int64_t count, DType dtype, ReduceOp op) const {
  const auto slice = slice_of(count, rank_, size());
  if (slice.count == 0) return;
  const auto buffers = everybodys_buffers();
  reduce_in_order(buffers, buffers, slice.first, slice.count, dtype, op);
}

std::vector<void*> ThreadCommunicator::everybodys_buffers() const {
  std::vector<void*> buffers;
  buffers.reserve(rendezvous_.postings().size());
  for (const auto& posting : rendezvous_.postings()) buffers.push_back(posting.data);
  return buffers;
}

}  // namespace hone::distributed::detail

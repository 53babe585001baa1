#include "hone/distributed/mpi_communicator.hpp"

#include <algorithm>
#include <exception>
#include <numeric>

#include "chunk_plan.hpp"
#include "hone/distributed/collective_call.hpp"
#include "hone/core/error.hpp"
#include "mpi_error.hpp"
#include "mpi_reduction.hpp"
#include "node_collectives.hpp"

namespace hone::distributed {
namespace {

// Why all ranks end with the same bits. MPI only recommends it, so it rests on how an implementation
// combines: Open MPI 4.1 (coll/tuned) all-reduces by
// - recursive doubling (small messages): partners compute the same pair, and IEEE addition commutes in
//   every bit but a NaN's payload; Open MPI even puts the lower rank's operand first on both sides;
// - ring, segmented ring, Rabenseifner's reduce-scatter + all-gather: every element is summed by one
//   owner and copied from there;
// - reduce + broadcast: one owner as well.
// What does not commute in MPI's own operations (Min and Max with NaN, or with zeros of both signs) is
// replaced by operations that do, and every sum of 16-bit floats has one owner (MpiReduction). The
// contract suite compares the bits on 2, 3 and 4 ranks, for random numbers and sizes that reach each
// of these algorithms.

/// Measured fastest for 500 MB on 2 processes of one node: the buffers that the library allocates
/// for one chunk stay in the cache and are reused by the next (4.2 GB/s; one call for all: 1.6).
constexpr std::int64_t kChunkBytes = std::int64_t{1} << 20;

/// Bytes that one round of all_gather_bytes or all_to_all_bytes stages, over all ranks: well below
/// INT_MAX, because MPI's displacements are ints.
constexpr std::int64_t kRoundBytes = std::int64_t{64} << 20;

/// The same window of several buffers, one behind another.
struct Staged {
  Staged(std::span<const std::vector<std::byte>> buffers, detail::Chunk round)
      : window(round), counts(buffers.size()), starts(buffers.size()) {
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      counts[i] = detail::clipped(window, static_cast<std::int64_t>(buffers[i].size())).count;
    }
    std::exclusive_scan(counts.begin(), counts.end(), starts.begin(), 0);
    bytes.resize(static_cast<std::size_t>(starts.back() + counts.back()));
  }
  void fill_from(std::span<const std::vector<std::byte>> buffers) {
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      if (counts[i] == 0) continue;
      std::copy_n(buffers[i].begin() + window.first, counts[i], bytes.begin() + starts[i]);
    }
  }
  void copy_into(std::span<std::vector<std::byte>> buffers) const {
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      if (counts[i] == 0) continue;
      std::copy_n(bytes.begin() + starts[i], counts[i], buffers[i].begin() + window.first);
    }
  }

  detail::Chunk window;
  std::vector<int> counts, starts;
  std::vector<std::byte> bytes;
};

void require_initialized() {
  int initialized = 0;
  int finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (initialized != 0 && finalized == 0) return;
  throw LaunchError{finalized != 0 ? "MPI is already finalized: MpiCommunicator needs it running"
                                   : "MPI is not initialised: construct an MpiEnvironment first"};
}

}  // namespace

MpiCommunicator::MpiCommunicator(MPI_Comm parent, NodeOptions node_options)
    : node_options_(node_options), exceptions_at_start_(std::uncaught_exceptions()) {
  require_initialized();
  detail::require_success(MPI_Comm_dup(parent, &comm_), "MPI_Comm_dup");
  detail::require_success(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN),
                          "MPI_Comm_set_errhandler");
  detail::require_success(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
  detail::require_success(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
  reduction_ = std::make_unique<detail::MpiReduction>();
}

MpiCommunicator::~MpiCommunicator() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized != 0) return;
  // Freeing is a collective on paper (local in Open MPI): peers of a rank that fails may not come.
  if (std::uncaught_exceptions() > exceptions_at_start_) return;
  if (node_ != nullptr) node_->close();
  MPI_Comm_free(&comm_);
}

template <typename Work>
bool MpiCommunicator::done_in_shared_memory(const CollectiveCall& call, const void* data,
                                            std::int64_t bytes, Work work) {
  const auto place = node_ == nullptr ? std::nullopt : node_->find(data, bytes);
  if (!place) return false;
  as_part_of(call, [&] {
    node_->meet(*place, call);
    work(*place);
    node_->part();
  });
  return true;
}

template <typename Work>
void MpiCommunicator::as_part_of(const CollectiveCall& call, Work work) {
  try {
    work();
  } catch (const CommunicatorError& error) {
    fail(error.what(), error.exit_code(), call);
  }
}

void MpiCommunicator::all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) {
  const auto call = all_reduce_call(count, dtype, op);
  begin(call, data);
  const auto in_place = [&](const detail::Place& place) {
    node_->reduce(place, 0, count, dtype, op, std::nullopt);
  };
  if (done_in_shared_memory(call, data, count * size_of(dtype), in_place)) return;
  const detail::ChunkPlan plan{count, size_of(dtype), kChunkBytes};
  as_part_of(call, [&] {
    for (std::int64_t i = 0; i < plan.num_chunks(); ++i) {
      const auto chunk = plan.chunk(i);
      auto* start = static_cast<std::byte*>(data) + chunk.first * size_of(dtype);
      (*reduction_)(start, chunk.count, dtype, op, comm_);
    }
  });
}

// Block by block, to and from its owner: as much traffic as MPI's own operations on whole buffers,
// without their copies of the whole.
void MpiCommunicator::reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) {
  const auto call = reduce_scatter_call(block, dtype, op);
  begin(call, data);
  const auto in_place = [&](const detail::Place& place) {
    for (int owner = 0; owner < size_; ++owner) {
      node_->reduce(place, owner * block, block, dtype, op, owner);
    }
  };
  if (done_in_shared_memory(call, data, size_ * block * size_of(dtype), in_place)) return;
  const detail::ChunkPlan plan{block, size_of(dtype), kChunkBytes};
  as_part_of(call, [&] {
    for (int owner = 0; owner < size_; ++owner) {
      for (std::int64_t i = 0; i < plan.num_chunks(); ++i) {
        const auto chunk = plan.chunk(i);
        auto* start =
            static_cast<std::byte*>(data) + (owner * block + chunk.first) * size_of(dtype);
        (*reduction_)(start, chunk.count, dtype, op, comm_, owner);
      }
    }
  });
}

void MpiCommunicator::all_gather(void* data, std::int64_t block, DType dtype) {
  const auto call = all_gather_call(block, dtype);
  begin(call, data);
  const auto bytes = block * size_of(dtype);
  const auto in_place = [&](const detail::Place& place) {
    for (int owner = 0; owner < size_; ++owner) node_->spread(place, owner * bytes, bytes, owner);
  };
  if (done_in_shared_memory(call, data, size_ * bytes, in_place)) return;
  for (int owner = 0; owner < size_; ++owner) {
    broadcast_bytes(static_cast<std::byte*>(data) + owner * bytes, bytes, owner, call);
  }
}

void MpiCommunicator::broadcast(void* data, std::int64_t count, DType dtype, int root) {
  const auto call = broadcast_call(count, dtype, root);
  begin(call, data);
  const auto bytes = count * size_of(dtype);
  const auto in_place = [&](const detail::Place& place) { node_->spread(place, 0, bytes, root); };
  if (done_in_shared_memory(call, data, bytes, in_place)) return;
  broadcast_bytes(static_cast<std::byte*>(data), bytes, root, call);
}

void MpiCommunicator::broadcast_bytes(std::byte* data, std::int64_t bytes, int root,
                                      const CollectiveCall& call) {
  const detail::ChunkPlan plan{bytes, 1, kChunkBytes};
  for (std::int64_t i = 0; i < plan.num_chunks(); ++i) {
    const auto chunk = plan.chunk(i);
    check(MPI_Bcast(data + chunk.first, chunk.count, MPI_BYTE, root, comm_), call);
  }
}

std::vector<std::vector<std::byte>> MpiCommunicator::all_gather_bytes(
    std::span<const std::byte> mine) {
  const auto call = all_gather_bytes_call();
  begin(call, mine.data());
  const auto lengths = gather_lengths(static_cast<std::int64_t>(mine.size()), call);
  std::vector<std::vector<std::byte>> gathered(lengths.size());
  for (std::size_t rank = 0; rank < lengths.size(); ++rank) {
    gathered[rank].resize(static_cast<std::size_t>(lengths[rank]));
  }
  // Rounds: in each, every rank contributes the same window of its bytes, as far as it has any.
  const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  const detail::ChunkPlan rounds{longest, 1, std::max<std::int64_t>(1, kRoundBytes / size_)};
  for (std::int64_t i = 0; i < rounds.num_chunks(); ++i) {
    Staged received{gathered, rounds.chunk(i)};
    const auto window = detail::clipped(rounds.chunk(i), static_cast<std::int64_t>(mine.size()));
    check(MPI_Allgatherv(mine.data() + window.first, window.count, MPI_BYTE, received.bytes.data(),
                         received.counts.data(), received.starts.data(), MPI_BYTE, comm_),
          call);
    received.copy_into(gathered);
  }
  return gathered;
}

std::vector<std::vector<std::byte>> MpiCommunicator::all_to_all_bytes(
    std::span<const std::vector<std::byte>> to) {
  require_one_for_each_rank(to);
  const auto call = all_to_all_bytes_call();
  begin(call, nullptr);
  std::int64_t longest = 0;
  const auto lengths = exchange_lengths(to, longest, call);
  std::vector<std::vector<std::byte>> from(to.size());
  for (std::size_t rank = 0; rank < from.size(); ++rank) {
    from[rank].resize(static_cast<std::size_t>(lengths[rank]));
  }
  // Rounds: in each, any two ranks exchange the same window of their bytes, as far as they have
  // any.
  const detail::ChunkPlan rounds{longest, 1, std::max<std::int64_t>(1, kRoundBytes / size_)};
  for (std::int64_t i = 0; i < rounds.num_chunks(); ++i) {
    const auto window = rounds.chunk(i);
    Staged sent{to, window}, received{from, window};
    sent.fill_from(to);
    check(MPI_Alltoallv(sent.bytes.data(), sent.counts.data(), sent.starts.data(), MPI_BYTE,
                        received.bytes.data(), received.counts.data(), received.starts.data(),
                        MPI_BYTE, comm_),
          call);
    received.copy_into(from);
  }
  return from;
}

void MpiCommunicator::barrier() {
  const auto call = barrier_call();
  begin(call, nullptr);
  check(MPI_Barrier(comm_), call);
}

std::shared_ptr<std::byte> MpiCommunicator::allocate(std::int64_t bytes) {
  const auto call = allocate_call(bytes);
  begin(call, nullptr);
  std::shared_ptr<std::byte> memory;
  as_part_of(call, [&] {
    if (node_ == nullptr) {
      node_ = std::make_unique<detail::NodeCollectives>(comm_, *reduction_, node_options_.node);
    }
    memory = node_->allocate(bytes, node_options_.share_memory);
  });
  return memory;
}

std::string MpiCommunicator::memory_refusal() const {
  return node_ == nullptr ? std::string{} : node_->refusal();
}

void MpiCommunicator::abort(int exit_code) { MPI_Abort(comm_, exit_code); }

void MpiCommunicator::begin(const CollectiveCall& call, const void* data) {
  if (!failure_.empty()) {
    throw CommunicatorError{describe(call) + " refused: the communicator is unusable after " +
                                failure_,
                            failure_code_};
  }
  require_valid(call, data, size_);
  ++sequence_;
}

void MpiCommunicator::check(int code, const CollectiveCall& call) {
  if (code != MPI_SUCCESS) fail(detail::mpi_error_text(code), detail::mpi_exit_code(code), call);
}

void MpiCommunicator::fail(const std::string& reason, ExitCode code, const CollectiveCall& call) {
  failure_ = "[rank " + std::to_string(rank_) + " of " + std::to_string(size_) + "] collective " +
             std::to_string(sequence_) + ", " + describe(call) +
             ", failed: " + reason;
  failure_code_ = code;
  throw CommunicatorError{failure_, failure_code_};
}

std::vector<std::int64_t> MpiCommunicator::gather_lengths(std::int64_t mine,
                                                          const CollectiveCall& call) {
  std::vector<std::int64_t> lengths(static_cast<std::size_t>(size_));
  check(MPI_Allgather(&mine, 1, MPI_INT64_T, lengths.data(), 1, MPI_INT64_T, comm_), call);
  return lengths;
}

std::vector<std::int64_t> MpiCommunicator::exchange_lengths(
    std::span<const std::vector<std::byte>> to, std::int64_t& longest, const CollectiveCall& call) {
  std::vector<std::int64_t> mine, theirs(to.size());
  for (const auto& part : to) mine.push_back(static_cast<std::int64_t>(part.size()));
  check(MPI_Alltoall(mine.data(), 1, MPI_INT64_T, theirs.data(), 1, MPI_INT64_T, comm_), call);
  longest = *std::max_element(mine.begin(), mine.end());
  check(MPI_Allreduce(MPI_IN_PLACE, &longest, 1, MPI_INT64_T, MPI_MAX, comm_), call);
  return theirs;
}

}  // namespace hone::distributed

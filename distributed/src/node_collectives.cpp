#include "node_collectives.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "chunk_plan.hpp"
#include "hone/core/error.hpp"
#include "mpi_error.hpp"
#include "reduce_kernels.hpp"

namespace hone::distributed::detail {
namespace {

/// Small enough to stay in the cache between a node's own sum, the one across nodes, and the
/// copies.
constexpr std::int64_t kChunkBytes = std::int64_t{1} << 20;

/// What ranks compare when they meet. Travels as bytes.
struct Ticket {
  std::int64_t memory = 0;
  std::int64_t offset = 0;
  CollectiveCall call;

  bool operator==(const Ticket&) const = default;
};

std::string text_of(const Ticket& ticket) {
  return describe(ticket.call) + " from byte " + std::to_string(ticket.offset) + " of allocation " +
         std::to_string(ticket.memory);
}

template <typename T>
std::vector<T> gather(const T& mine, int size, MPI_Comm comm) {
  std::vector<T> all(static_cast<std::size_t>(size));
  require_success(
      MPI_Allgather(&mine, sizeof(T), MPI_BYTE, all.data(), sizeof(T), MPI_BYTE, comm),
      "MPI_Allgather");
  return all;
}

/// Messages order what processes do to memory that MPI knows nothing of only by what a library
/// happens to do inside; the fence makes it sure.
void fence() { std::atomic_thread_fence(std::memory_order_seq_cst); }

std::byte* bytes_of(void* start, std::int64_t offset) {
  return static_cast<std::byte*>(start) + offset;
}

/// Bytes [first, first + bytes) of `from` to all `others` but itself.
void copy_to(const std::vector<void*>& others, void* from, std::int64_t first, std::int64_t bytes) {
  for (void* other : others) {
    if (other == from) continue;
    std::memcpy(bytes_of(other, first), bytes_of(from, first), static_cast<std::size_t>(bytes));
  }
}

}  // namespace

std::shared_ptr<std::byte> NodeCollectives::allocate(std::int64_t bytes, bool may_share) {
  if (!ranks_.any_share()) {
    refusal_ = "no two ranks share a node";
    return nullptr;
  }
  auto parts = map_all(std::max<std::int64_t>(1, bytes), may_share);
  if (!refusal_.empty()) return nullptr;
  const auto memory = std::make_shared<NodeMemory>(++num_allocated_, bytes, std::move(parts),
                                                   ranks_.my_place());
  allocations_.push_back(memory);
  return {memory, memory->mine()};
}

/// The own memory and that of all ranks of this node, or a refusal that all ranks share. Whatever
/// fails on one rank, it meets the others: with an offer that nobody can take.
std::vector<Mapping> NodeCollectives::map_all(std::int64_t bytes, bool may_share) {
  std::optional<SharedMemory> own;
  std::optional<Mapping> mine;
  const auto to_offer = failure_of([&] {
    if (!may_share) throw CommunicatorError{"sharing memory is switched off"};
    own.emplace(bytes);
    mine.emplace(own->map());
  });
  const auto offers =
      gather(mine ? own->offer() : MemoryOffer{}, ranks_.num_on_my_node(), ranks_.node_comm());
  std::vector<Mapping> parts;
  const auto to_map = failure_of([&] {
    if (to_offer.happened()) return;
    for (int place = 0; place < ranks_.num_on_my_node(); ++place) {
      const auto& offer = offers[static_cast<std::size_t>(place)];
      if (offer.fd < 0) return;  // that rank says why
      parts.push_back(place == ranks_.my_place() ? std::move(*mine) : map_offered(offer, bytes));
    }
  });
  agree(to_offer.happened() ? to_offer.message : to_map.message);
  return parts;  // and the own file is closed: by now every peer has mapped it, or all have given up
}

/// The lowest failing rank's reason becomes everybody's refusal; an empty one where no rank failed.
void NodeCollectives::agree(const std::string& mine) {
  int rank = 0;
  int size = 0;
  require_success(MPI_Comm_rank(comm_, &rank), "MPI_Comm_rank");
  require_success(MPI_Comm_size(comm_, &size), "MPI_Comm_size");
  int failing = mine.empty() ? size : rank;
  require_success(MPI_Allreduce(MPI_IN_PLACE, &failing, 1, MPI_INT, MPI_MIN, comm_),
                  "MPI_Allreduce");
  refusal_.clear();
  if (failing == size) return;
  std::array<char, 512> text{};
  std::copy_n(mine.begin(), std::min(mine.size(), text.size() - 1), text.begin());
  require_success(MPI_Bcast(text.data(), text.size(), MPI_CHAR, failing, comm_), "MPI_Bcast");
  refusal_ = "rank " + std::to_string(failing) + ": " + text.data();
}

std::optional<Place> NodeCollectives::find(const void* data, std::int64_t bytes) {
  std::erase_if(allocations_, [](const auto& allocation) { return allocation.expired(); });
  for (const auto& allocation : allocations_) {
    auto memory = allocation.lock();
    if (bytes == 0 || !memory->contains(data, bytes)) continue;
    const auto offset = static_cast<const std::byte*>(data) - memory->mine();
    return Place{std::move(memory), offset};
  }
  return std::nullopt;
}

void NodeCollectives::meet(const Place& place, const CollectiveCall& call) const {
  const Ticket mine{.memory = place.memory->number(), .offset = place.offset, .call = call};
  fence();
  const auto tickets = gather(mine, ranks_.num_on_my_node(), ranks_.node_comm());
  fence();
  const auto other = std::ranges::find_if(tickets, [&](const Ticket& t) { return t != mine; });
  if (other == tickets.end()) return;
  const int rank = ranks_.rank_on_my_node(static_cast<int>(other - tickets.begin()));
  throw CommunicatorError{"rank " + std::to_string(rank) + " makes " + text_of(*other) +
                          " where this one makes " + text_of(mine) +
                          ": all ranks must pass the same range of their memory"};
}

void NodeCollectives::part() const {
  fence();
  require_success(MPI_Barrier(ranks_.node_comm()), "MPI_Barrier");
  fence();
}

void NodeCollectives::reduce(const Place& place, std::int64_t first, std::int64_t count, DType dtype,
                             ReduceOp op, std::optional<int> owner) const {
  if (!has_lane()) return;
  const auto width = size_of(dtype);
  const auto buffers = place.memory->at(place.offset);
  auto results = buffers;
  if (owner && on_my_node(*owner)) {
    results = {buffers[static_cast<std::size_t>(ranks_.place_of(*owner))]};
  } else if (owner) {
    results.clear();
  }
  const auto slice = slice_of(count, ranks_.my_place(), ranks_.num_lanes());
  if (ranks_.num_nodes() == 1) {
    return reduce_in_order(buffers, results, first + slice.first, slice.count, dtype, op);
  }
  void* const mine = buffers[static_cast<std::size_t>(ranks_.my_place())];
  const auto root = owner ? std::optional{ranks_.node_of(*owner)} : std::nullopt;
  const ChunkPlan plan{slice.count, width, kChunkBytes};
  for (std::int64_t i = 0; i < plan.num_chunks(); ++i) {
    const auto [start, length] = plan.chunk(i);
    const auto begin = first + slice.first + start;
    reduce_in_order(buffers, {&mine, 1}, begin, length, dtype, op);
    reduction_(bytes_of(mine, begin * width), length, dtype, op, ranks_.lane_comm(), root);
    copy_to(results, mine, begin * width, length * width);
  }
}

void NodeCollectives::spread(const Place& place, std::int64_t first, std::int64_t bytes,
                             int owner) const {
  if (!has_lane()) return;
  const auto buffers = place.memory->at(place.offset);
  const int source = on_my_node(owner) ? ranks_.place_of(owner) : ranks_.my_place();
  void* const from = buffers[static_cast<std::size_t>(source)];
  const auto slice = slice_of(bytes, ranks_.my_place(), ranks_.num_lanes());
  const ChunkPlan plan{slice.count, 1, kChunkBytes};
  for (std::int64_t i = 0; i < plan.num_chunks(); ++i) {
    const auto [start, length] = plan.chunk(i);
    const auto begin = first + slice.first + start;
    if (ranks_.num_nodes() > 1) {
      require_success(MPI_Bcast(bytes_of(from, begin), length, MPI_BYTE, ranks_.node_of(owner),
                                ranks_.lane_comm()),
                      "MPI_Bcast");
    }
    copy_to(buffers, from, begin, length);
  }
}

}  // namespace hone::distributed::detail

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/distributed/collective_call.hpp"
#include "mpi_reduction.hpp"
#include "node_memory.hpp"
#include "node_ranks.hpp"

namespace hone::distributed::detail {

/// A range of an allocation: at the same offset on every rank.
struct Place {
  std::shared_ptr<NodeMemory> memory;
  std::int64_t offset = 0;  ///< bytes
};

/// Memory that the ranks of a node share, and collectives on it in place: nothing is copied aside,
/// and no two ranks of a node touch the same element between meet() and part(). Across nodes only
/// slices that are reduced for the whole node travel.
///
/// Collective: construction, allocate(), close(), meet() and part(), reduce() and spread() in
/// between.
/// Throws: CommunicatorError.
class NodeCollectives {
 public:
  NodeCollectives(MPI_Comm comm, MpiReduction& reduction, std::optional<int> node)
      : comm_(comm), reduction_(reduction), ranks_(comm, node) {}

  void close() { ranks_.close(); }

  /// Zeroed memory of this rank, which its peers can reach too. Null on all ranks where any rank
  /// cannot have it, or `may_share` is false on any; refusal() then says why, the same on all
  /// ranks.
  std::shared_ptr<std::byte> allocate(std::int64_t bytes, bool may_share);
  const std::string& refusal() const { return refusal_; }

  /// Where a range lies wholly in one allocation, which; local.
  std::optional<Place> find(const void* data, std::int64_t bytes);

  /// Waits until all ranks of this node are in the same call with the same place.
  void meet(const Place& place, const CollectiveCall& call) const;
  /// Waits until all ranks of this node have done their part.
  void part() const;

  /// Reduces elements [first, first + count) over all ranks: into every rank's memory, or into that
  /// of `owner` alone, where the others' are then unspecified.
  void reduce(const Place& place, std::int64_t first, std::int64_t count, DType dtype, ReduceOp op,
              std::optional<int> owner) const;

  /// Copies bytes [first, first + bytes) of `owner` to every rank.
  void spread(const Place& place, std::int64_t first, std::int64_t bytes, int owner) const;

 private:
  std::vector<Mapping> map_all(std::int64_t bytes, bool may_share);
  void agree(const std::string& mine);
  bool has_lane() const { return ranks_.my_place() < ranks_.num_lanes(); }
  bool on_my_node(int rank) const { return ranks_.node_of(rank) == ranks_.my_node(); }

  MPI_Comm comm_;
  MpiReduction& reduction_;
  NodeRanks ranks_;
  std::vector<std::weak_ptr<NodeMemory>> allocations_;
  std::int64_t num_allocated_ = 0;
  std::string refusal_;
};

}  // namespace hone::distributed::detail

#pragma once

#include <mpi.h>

#include <optional>
#include <vector>

namespace hone::distributed::detail {

/// Which ranks of a communicator share a node, and who works with whom across nodes: as many lanes
/// as the smallest node has ranks, each with one rank of every node, which reduces its slice for
/// its node and with its counterparts.
///
/// Collective: construction and close(), over all ranks of the communicator.
/// Throws: CommunicatorError.
class NodeRanks {
 public:
  /// `node`: ranks that give the same number are one node as far as they share memory. Without: all
  /// that do.
  NodeRanks(MPI_Comm comm, std::optional<int> node);
  NodeRanks(const NodeRanks&) = delete;
  NodeRanks& operator=(const NodeRanks&) = delete;

  /// Frees the communicators. Not called where peers may not come any more, or MPI is finalized.
  void close();

  MPI_Comm node_comm() const { return node_comm_; }
  /// Ordered by node, so that a node's number is its rank here. Null where this rank is in no lane.
  MPI_Comm lane_comm() const { return lane_comm_; }

  int num_nodes() const { return num_nodes_; }
  int num_lanes() const { return num_lanes_; }
  int my_node() const { return my_node_; }
  /// Place among the ranks of this node; below num_lanes() also the number of this rank's lane.
  int my_place() const { return my_place_; }
  int num_on_my_node() const { return num_on_my_node_; }
  /// Of any rank of the communicator.
  int node_of(int rank) const { return nodes_[static_cast<std::size_t>(rank)]; }
  int place_of(int rank) const { return places_[static_cast<std::size_t>(rank)]; }
  /// The rank in the communicator of a place of this node.
  int rank_on_my_node(int place) const;
  /// Whether any node has two ranks.
  bool any_share() const { return static_cast<std::size_t>(num_nodes_) < nodes_.size(); }

 private:
  void number_nodes(MPI_Comm comm);

  MPI_Comm node_comm_ = MPI_COMM_NULL;
  MPI_Comm lane_comm_ = MPI_COMM_NULL;
  std::vector<int> nodes_;   ///< of each rank
  std::vector<int> places_;  ///< of each rank, on its node
  int num_nodes_ = 0;
  int num_lanes_ = 0;
  int my_node_ = 0;
  int my_place_ = 0;
  int num_on_my_node_ = 0;
};

}  // namespace hone::distributed::detail

#include "node_ranks.hpp"

#include <algorithm>
#include <map>

#include "mpi_error.hpp"

namespace hone::distributed::detail {
namespace {

void return_errors(MPI_Comm comm) {
  if (comm == MPI_COMM_NULL) return;
  require_success(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

/// The ranks of `comm` that share memory and gave the same number, in rank order.
MPI_Comm split_by_node(MPI_Comm comm, std::optional<int> node) {
  MPI_Comm host = MPI_COMM_NULL;
  require_success(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host),
                  "MPI_Comm_split_type");
  if (!node) return host;
  MPI_Comm part = MPI_COMM_NULL;
  require_success(MPI_Comm_split(host, *node, 0, &part), "MPI_Comm_split");
  MPI_Comm_free(&host);
  return part;
}

}  // namespace

NodeRanks::NodeRanks(MPI_Comm comm, std::optional<int> node)
    : node_comm_(split_by_node(comm, node)) {
  return_errors(node_comm_);
  require_success(MPI_Comm_rank(node_comm_, &my_place_), "MPI_Comm_rank");
  require_success(MPI_Comm_size(node_comm_, &num_on_my_node_), "MPI_Comm_size");
  number_nodes(comm);
  const int lane = my_place_ < num_lanes_ ? my_place_ : MPI_UNDEFINED;
  require_success(MPI_Comm_split(comm, lane, my_node_, &lane_comm_), "MPI_Comm_split");
  return_errors(lane_comm_);
}

/// A node is known by its first rank; nodes are numbered in the order of these.
void NodeRanks::number_nodes(MPI_Comm comm) {
  int rank = 0;
  int size = 0;
  require_success(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
  require_success(MPI_Comm_size(comm, &size), "MPI_Comm_size");
  int first = rank;
  require_success(MPI_Bcast(&first, 1, MPI_INT, 0, node_comm_), "MPI_Bcast");
  std::vector<int> firsts(static_cast<std::size_t>(size));
  require_success(MPI_Allgather(&first, 1, MPI_INT, firsts.data(), 1, MPI_INT, comm),
                  "MPI_Allgather");
  std::map<int, int> numbers;   // of nodes, by first rank
  std::vector<int> num_ranks;   // by node
  for (const int of_rank : firsts) {
    const int node = numbers.try_emplace(of_rank, static_cast<int>(numbers.size())).first->second;
    num_ranks.resize(numbers.size());
    nodes_.push_back(node);
    places_.push_back(num_ranks[static_cast<std::size_t>(node)]++);
  }
  num_nodes_ = static_cast<int>(numbers.size());
  num_lanes_ = *std::ranges::min_element(num_ranks);
  my_node_ = node_of(rank);
}

void NodeRanks::close() {
  if (lane_comm_ != MPI_COMM_NULL) MPI_Comm_free(&lane_comm_);
  MPI_Comm_free(&node_comm_);
}

int NodeRanks::rank_on_my_node(int place) const {
  for (std::size_t rank = 0; rank < nodes_.size(); ++rank) {
    if (nodes_[rank] == my_node_ && places_[rank] == place) return static_cast<int>(rank);
  }
  return -1;
}

}  // namespace hone::distributed::detail

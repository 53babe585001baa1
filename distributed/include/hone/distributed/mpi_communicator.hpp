#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hone/core/communicator.hpp"

namespace hone::distributed {

namespace detail {
class MpiReduction;
class NodeCollectives;
struct Place;
}  // namespace detail

struct CollectiveCall;

/// How an MpiCommunicator uses memory that the ranks of one node share. The defaults are right for
/// every job; tests choose.
struct NodeOptions {
  bool share_memory = true;  ///< false on any rank: allocate() returns null on all
  /// Ranks that give the same number are one node, as far as they share memory. Without: all that
  /// do.
  std::optional<int> node;
};

/// The processes of an MPI communicator. Works on a duplicate with MPI_ERRORS_RETURN, so that its
/// messages never meet other traffic and every failure comes back as an exception.
///
/// Min and Max of floats are NaN on every rank where any operand is NaN. 16-bit floats are added in
/// float32 and rounded once; in memory that ranks share once for each node, and once across nodes.
///
/// Memory of allocate() is mapped by all ranks of a node, and collectives on a range of it work in
/// place: each rank reduces a slice over the node's ranks, then with its counterparts on other
/// nodes, where each has ranks for it. All ranks must pass the same
/// range; what lies in any other memory goes through MPI's own operations. A rank that dies leaves
/// nothing behind; pages are given back when the last rank of the node has let go of an allocation.
///
/// Collective: construction and destruction too.
/// Thread-safety: one thread at a time.
/// Throws: CommunicatorError with the operation, its number and MPI's text. After a failure every
/// later collective throws: the ranks cannot be in step any more. Arguments that no communicator
/// takes are refused before anything is communicated.
class MpiCommunicator final : public Communicator {
 public:
  /// Throws: LaunchError where MPI is not initialised (see MpiEnvironment).
  explicit MpiCommunicator(MPI_Comm parent = MPI_COMM_WORLD, NodeOptions node_options = {});
  /// Frees the duplicate unless MPI is finalized or an exception unwinds.
  ~MpiCommunicator() override;

  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string_view backend() const override { return "mpi"; }

  void all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) override;
  void reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) override;
  void all_gather(void* data, std::int64_t block, DType dtype) override;
  void broadcast(void* data, std::int64_t count, DType dtype, int root) override;
  std::vector<std::vector<std::byte>> all_gather_bytes(std::span<const std::byte> mine) override;
  std::vector<std::vector<std::byte>> all_to_all_bytes(
      std::span<const std::vector<std::byte>> to) override;
  void barrier() override;

  /// Null on all ranks where no two share a node, or any rank cannot share its memory with its
  /// node: memory_refusal() then says why.
  std::shared_ptr<std::byte> allocate(std::int64_t bytes) override;
  /// Why the latest allocate() returned null, with the first rank that could not; empty where it
  /// did not.
  std::string memory_refusal() const;

  /// MPI_Abort: mpirun kills all ranks and exits with `exit_code`. Does not return.
  void abort(int exit_code) override;

 private:
  void begin(const CollectiveCall& call, const void* data);
  void check(int code, const CollectiveCall& call);
  [[noreturn]] void fail(const std::string& reason, ExitCode code, const CollectiveCall& call);
  /// Runs `work`, which throws CommunicatorErrors that know nothing of the call.
  template <typename Work>
  void as_part_of(const CollectiveCall& call, Work work);
  /// Runs work(place) on all ranks of the node together where the buffer lies in memory that they
  /// share. Otherwise returns false.
  template <typename Work>
  bool done_in_shared_memory(const CollectiveCall& call, const void* data, std::int64_t bytes,
                             Work work);
  void broadcast_bytes(std::byte* data, std::int64_t bytes, int root, const CollectiveCall& call);
  std::vector<std::int64_t> gather_lengths(std::int64_t mine, const CollectiveCall& call);
  /// The lengths of what the ranks send here, and in `longest` the greatest that any two ranks
  /// exchange.
  std::vector<std::int64_t> exchange_lengths(std::span<const std::vector<std::byte>> to,
                                             std::int64_t& longest, const CollectiveCall& call);

  MPI_Comm comm_ = MPI_COMM_NULL;
  NodeOptions node_options_;
  std::unique_ptr<detail::MpiReduction> reduction_;
  std::unique_ptr<detail::NodeCollectives> node_;  ///< from the first allocate() on
  int rank_ = 0;
  int size_ = 1;
  int exceptions_at_start_ = 0;
  std::int64_t sequence_ = 0;  ///< collectives begun
  std::string failure_;        ///< of the first collective that failed; empty while none has
  ExitCode failure_code_ = ExitCode::Internal;
};

}  // namespace hone::distributed

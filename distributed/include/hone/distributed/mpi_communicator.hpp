#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hone/core/communicator.hpp"

namespace hone::distributed {

namespace detail {
class MpiReduceOps;
}  // namespace detail

struct CollectiveCall;

/// The processes of an MPI communicator. Works on a duplicate with MPI_ERRORS_RETURN, so that its
/// messages never meet other traffic and every failure comes back as an exception.
///
/// Min and Max of floats are NaN on every rank where any operand is NaN. 16-bit floats are added in
/// float and rounded after each addition.
///
/// Collective: construction and destruction too.
/// Thread-safety: one thread at a time.
/// Throws: CommunicatorError with the operation, its number and MPI's text. After a failure every
/// later collective throws: the ranks cannot be in step any more. Arguments that no communicator
/// takes are refused before anything is communicated.
class MpiCommunicator final : public Communicator {
 public:
  /// Throws: LaunchError where MPI is not initialised (see MpiEnvironment).
  explicit MpiCommunicator(MPI_Comm parent = MPI_COMM_WORLD);
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
  void barrier() override;

  /// MPI_Abort: mpirun kills all ranks and exits with `exit_code`. Does not return.
  void abort(int exit_code) override;

 private:
  void begin(const CollectiveCall& call, const void* data);
  void check(int code, const CollectiveCall& call);
  void broadcast_bytes(std::byte* data, std::int64_t bytes, int root, const CollectiveCall& call);
  std::vector<std::int64_t> gather_lengths(std::int64_t mine, const CollectiveCall& call);

  MPI_Comm comm_ = MPI_COMM_NULL;
  std::unique_ptr<detail::MpiReduceOps> ops_;
  int rank_ = 0;
  int size_ = 1;
  int exceptions_at_start_ = 0;
  std::int64_t sequence_ = 0;  ///< collectives begun
  std::string failure_;        ///< of the first collective that failed; empty while none has
};

}  // namespace hone::distributed

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hone/core/dtype.hpp"
#include "hone/core/error.hpp"

namespace hone {

enum class ReduceOp : std::uint8_t { Sum, Min, Max };

/// What one all_gather() works on: a block of every rank, one behind another.
struct RankBlocks {
  void* data = nullptr;    ///< size() * `block` elements
  std::int64_t block = 0;  ///< elements
  DType dtype = DType::Float32;
};

/// The ranks of one job and what they can do together, on raw buffers: in host memory, or where the
/// backend's device computes.
///
/// Collective: every method except rank(), size(), backend(), is_asynchronous() and abort(); all
/// ranks call the same ones in the same order with the same count, dtype and root. Thread-safety:
/// one thread at a time.
/// Throws: CommunicatorError; the buffers are then unspecified and the communicator is unusable.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// "loopback", "threads", "mpi" or "nccl".
  virtual std::string_view backend() const = 0;

  /// Reduces `count` elements in place; every rank ends with the same bits. UInt8 takes Min and Max
  /// only. A zero count is legal.
  virtual void all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) = 0;

  /// Reduces size() * `block` elements. Afterwards this rank's block, the rank()-th, holds the
  /// result; the others are unspecified. 16-bit floats are added in float.
  virtual void reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) = 0;

  /// Shares what reduce_scatter leaves: every rank's own block of size() * `block` elements on
  /// every rank, in place.
  virtual void all_gather(void* data, std::int64_t block, DType dtype) = 0;
  /// all_gather() of each of them, which may be launched as one. The same ones on all ranks.
  virtual void all_gathers(std::span<const RankBlocks> all);

  /// Copies `count` elements of `root` to every rank, in place.
  virtual void broadcast(void* data, std::int64_t count, DType dtype, int root) = 0;

  /// Every rank's bytes on every rank, in rank order; lengths may differ and may be zero.
  virtual std::vector<std::vector<std::byte>> all_gather_bytes(std::span<const std::byte> mine) = 0;

  /// Bytes from every rank to every rank: to[r] goes to rank r, and what rank r sent here is the
  /// r-th of the result. `to` has size() entries; lengths may differ and may be zero.
  virtual std::vector<std::vector<std::byte>> all_to_all_bytes(
      std::span<const std::vector<std::byte>> to);

  virtual void barrier() = 0;

  /// As all_reduce() and reduce_scatter(), but they may return before the work is done. Until
  /// wait() the buffers are the communicator's. Every other collective does what was started first.
  virtual void start_all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op);
  virtual void start_reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op);
  /// Returns when all that was started is done.
  virtual void wait() {}
  /// Whether what is started goes on by itself, on a device say, while this thread does other work.
  virtual bool is_asynchronous() const { return false; }

  /// Memory, all zero and aligned to 64 bytes, in which this communicator reduces faster than in
  /// any other. Null on all ranks where it has none: any memory is as good. It may outlive the
  /// communicator. A range of it that a collective works on is the same on every rank: one that
  /// passes another range, or other memory, is out of step.
  virtual std::shared_ptr<std::byte> allocate(std::int64_t bytes);

  /// Ends the whole job at once with `exit_code`, from any one rank. Does not return under MPI;
  /// elsewhere it makes every waiting and later call of the group throw.
  virtual void abort(int exit_code) = 0;

 protected:
  /// For implementations of all_to_all_bytes(). Not collective. Throws: CommunicatorError.
  void require_one_for_each_rank(std::span<const std::vector<std::byte>> to) const;
};

/// True where every rank passed true. Collective.
bool all_true(Communicator& comm, bool mine);

/// Sum over ranks of each element, in place. Collective.
void all_reduce_sum(Communicator& comm, std::span<double> values);
void all_reduce_sum(Communicator& comm, std::span<std::int64_t> values);

/// Every rank's text, in rank order. Collective.
std::vector<std::string> all_gather_strings(Communicator& comm, std::string_view mine);

/// The text of `root` on every rank. Collective.
std::string broadcast_string(Communicator& comm, std::string_view mine, int root = 0);

/// What a rank's own work failed with. An empty message: it did not.
struct LocalFailure {
  std::string message;
  ExitCode code = ExitCode::Success;

  bool happened() const { return !message.empty(); }
};

/// What the exception says that is being handled: for catch blocks. Memory that is missing has its
/// exit code whoever says so, then without the tensor library's stack.
LocalFailure failure_in_flight();

/// Runs `local` and says what it threw, whatever that was: for ranks that must meet the others
/// first.
template <typename Function>
LocalFailure failure_of(Function&& local);

/// Makes a local failure everybody's: returns where no rank has one, else throws on *every* rank
/// the failure of the lowest failing rank, so that no rank enters the next collective alone.
/// Collective. Throws: the Error type of that exit code.
void agree_or_throw(Communicator& comm, const LocalFailure& failure);

/// Runs `local` (which must not communicate) on every rank and lets its Error travel: all ranks
/// return, or all throw the same Error. Collective.
template <typename Function>
void run_agreed(Communicator& comm, Function&& local);

}  // namespace hone

#include "hone/core/detail/run_agreed.hpp"

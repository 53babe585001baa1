#pragma once

#include <mpi.h>

#include <cstddef>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/core/dtype.hpp"

namespace hone::distributed::detail {

/// Reductions by MPI's messages, for every (dtype, operation): MPI's own operation where it means
/// what hone means; one of ours over reduce_kernels.hpp for Min and Max of floats, whose result with
/// a NaN MPI leaves to the operands' order, and of 16-bit floats, which MPI 3 does not know; and for
/// sums of 16-bit floats an exchange of the summands, because any operation would round after every
/// addition.
///
/// Ownership: the custom operations, freed at destruction unless MPI is finalized, and the space of
/// one exchange.
/// Thread-safety: one thread at a time.
class MpiReduction {
 public:
  MpiReduction();
  ~MpiReduction();
  MpiReduction(const MpiReduction&) = delete;
  MpiReduction& operator=(const MpiReduction&) = delete;

  /// Reduces `count` elements over the ranks of `comm`, in place: for all of them, or for `root`
  /// alone, where the others' data stay as they are. 16-bit floats are added in float32 in the
  /// order of the ranks, and rounded once.
  ///
  /// Collective over `comm`.
  /// Throws: CommunicatorError.
  void operator()(void* data, int count, DType dtype, ReduceOp op, MPI_Comm comm,
                  std::optional<int> root = std::nullopt);

 private:
  template <DType kDType, ReduceOp kOp>
  void create();
  MPI_Op op_for(DType dtype, ReduceOp op) const;
  void sum_exchanged(void* data, int count, DType dtype, MPI_Comm comm, std::optional<int> root);

  std::map<std::pair<DType, ReduceOp>, MPI_Op> custom_;
  std::vector<std::byte> summands_;  ///< of this rank's share, from all ranks
};

}  // namespace hone::distributed::detail

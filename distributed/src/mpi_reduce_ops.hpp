#pragma once

#include <mpi.h>

#include <map>
#include <utility>

#include "hone/core/communicator.hpp"
#include "hone/core/dtype.hpp"

namespace hone::distributed::detail {

/// The MPI operation for every (dtype, reduction): MPI's own where it means what hone means, else
/// one of ours over reduce_kernels.hpp. Ours are the 16-bit floats, which MPI 3 does not know, and
/// Min and Max of floats, whose result with a NaN MPI leaves to the operands' order.
///
/// Ownership: the custom operations, freed at destruction unless MPI is finalized.
class MpiReduceOps {
 public:
  MpiReduceOps();
  ~MpiReduceOps();
  MpiReduceOps(const MpiReduceOps&) = delete;
  MpiReduceOps& operator=(const MpiReduceOps&) = delete;

  MPI_Op op(DType dtype, ReduceOp reduce_op) const;

  /// The MPI type that has the size of `dtype`; 16-bit floats travel as uint16.
  static MPI_Datatype type(DType dtype);

 private:
  template <DType kDType, ReduceOp kOp>
  void create();

  std::map<std::pair<DType, ReduceOp>, MPI_Op> custom_;
};

}  // namespace hone::distributed::detail

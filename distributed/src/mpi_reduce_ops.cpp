#include "mpi_reduce_ops.hpp"

#include <string>

#include "hone/core/error.hpp"
#include "mpi_error.hpp"
#include "reduce_kernels.hpp"

namespace hone::distributed::detail {
namespace {

/// The signature that MPI prescribes; dtype and operation are compiled in, as it has no user
/// pointer.
template <DType kDType, ReduceOp kOp>
void reduce_callback(void* from, void* into, int* count, MPI_Datatype*) {
  combine(into, from, *count, kDType, kOp);
}

}  // namespace

MpiReduceOps::MpiReduceOps() {
  create<DType::BFloat16, ReduceOp::Sum>();
  create<DType::BFloat16, ReduceOp::Min>();
  create<DType::BFloat16, ReduceOp::Max>();
  create<DType::Float16, ReduceOp::Sum>();
  create<DType::Float16, ReduceOp::Min>();
  create<DType::Float16, ReduceOp::Max>();
  create<DType::Float32, ReduceOp::Min>();
  create<DType::Float32, ReduceOp::Max>();
  create<DType::Float64, ReduceOp::Min>();
  create<DType::Float64, ReduceOp::Max>();
}

MpiReduceOps::~MpiReduceOps() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized != 0) return;
  for (auto& [key, op] : custom_) MPI_Op_free(&op);
}

MPI_Op MpiReduceOps::op(DType dtype, ReduceOp reduce_op) const {
  if (const auto found = custom_.find({dtype, reduce_op}); found != custom_.end()) {
    return found->second;
  }
  switch (reduce_op) {
    case ReduceOp::Sum: return MPI_SUM;
    case ReduceOp::Min: return MPI_MIN;
    case ReduceOp::Max: return MPI_MAX;
  }
  return MPI_OP_NULL;
}

MPI_Datatype MpiReduceOps::type(DType dtype) {
  switch (dtype) {
    case DType::UInt8: return MPI_UINT8_T;
    case DType::Int64: return MPI_INT64_T;
    case DType::Float32: return MPI_FLOAT;
    case DType::Float64: return MPI_DOUBLE;
    case DType::BFloat16:
    case DType::Float16: return MPI_UINT16_T;
  }
  return MPI_DATATYPE_NULL;
}

template <DType kDType, ReduceOp kOp>
void MpiReduceOps::create() {
  constexpr int kCommutes = 1;
  MPI_Op op = MPI_OP_NULL;
  const int code = MPI_Op_create(&reduce_callback<kDType, kOp>, kCommutes, &op);
  if (code != MPI_SUCCESS) {
    throw CommunicatorError{"MPI_Op_create failed: " + mpi_error_text(code)};
  }
  custom_[{kDType, kOp}] = op;
}

}  // namespace hone::distributed::detail

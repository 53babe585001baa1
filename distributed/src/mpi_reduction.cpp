#include "mpi_reduction.hpp"

#include <string>

#include "chunk_plan.hpp"
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

bool is_half(DType dtype) { return dtype == DType::BFloat16 || dtype == DType::Float16; }

/// The MPI type that has the size of `dtype`; 16-bit floats travel as uint16.
MPI_Datatype type_for(DType dtype) {
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

/// What each rank of a communicator has of `count` elements, as MPI wants to know it.
struct Shares {
  Shares(int count, int num_ranks) : counts(num_ranks), starts(num_ranks) {
    for (int rank = 0; rank < num_ranks; ++rank) {
      const auto slice = slice_of(count, rank, num_ranks);
      counts[rank] = static_cast<int>(slice.count);
      starts[rank] = static_cast<int>(slice.first);
    }
  }
  std::vector<int> counts, starts;
};

}  // namespace

MpiReduction::MpiReduction() {
  create<DType::BFloat16, ReduceOp::Min>();
  create<DType::BFloat16, ReduceOp::Max>();
  create<DType::Float16, ReduceOp::Min>();
  create<DType::Float16, ReduceOp::Max>();
  create<DType::Float32, ReduceOp::Min>();
  create<DType::Float32, ReduceOp::Max>();
  create<DType::Float64, ReduceOp::Min>();
  create<DType::Float64, ReduceOp::Max>();
}

MpiReduction::~MpiReduction() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized != 0) return;
  for (auto& [key, op] : custom_) MPI_Op_free(&op);
}

void MpiReduction::operator()(void* data, int count, DType dtype, ReduceOp op, MPI_Comm comm,
                              std::optional<int> root) {
  if (op == ReduceOp::Sum && is_half(dtype)) return sum_exchanged(data, count, dtype, comm, root);
  const MPI_Datatype type = type_for(dtype);
  const MPI_Op mpi_op = op_for(dtype, op);
  if (!root) {
    return require_success(MPI_Allreduce(MPI_IN_PLACE, data, count, type, mpi_op, comm),
                           "MPI_Allreduce");
  }
  int rank = 0;
  require_success(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
  const void* from = rank == *root ? MPI_IN_PLACE : data;
  require_success(MPI_Reduce(from, data, count, type, mpi_op, *root, comm), "MPI_Reduce");
}

// As many bytes as a ring of reduce-scatter and all-gather: every rank sums its share of what all
// have, and passes the sums on.
void MpiReduction::sum_exchanged(void* data, int count, DType dtype, MPI_Comm comm,
                                 std::optional<int> root) {
  int rank = 0;
  int size = 0;
  require_success(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
  require_success(MPI_Comm_size(comm, &size), "MPI_Comm_size");
  const MPI_Datatype type = type_for(dtype);
  const Shares all{count, size};
  const int mine = all.counts[rank];
  const auto mine_bytes = static_cast<std::size_t>(mine * size_of(dtype));
  summands_.resize(mine_bytes * static_cast<std::size_t>(size));

  Shares received{0, size};
  std::vector<void*> summands;
  for (int from = 0; from < size; ++from) {
    received.counts[from] = mine;
    received.starts[from] = from * mine;
    summands.push_back(summands_.data() + static_cast<std::size_t>(from) * mine_bytes);
  }
  require_success(MPI_Alltoallv(data, all.counts.data(), all.starts.data(), type, summands_.data(),
                                received.counts.data(), received.starts.data(), type, comm),
                  "MPI_Alltoallv");

  void* const here = static_cast<std::byte*>(data) + all.starts[rank] * size_of(dtype);
  void* sums = !root || *root == rank ? here : summands.front();
  reduce_in_order(summands, {&sums, 1}, 0, mine, dtype, ReduceOp::Sum);
  if (!root) {
    require_success(MPI_Allgatherv(MPI_IN_PLACE, 0, type, data, all.counts.data(),
                                   all.starts.data(), type, comm),
                    "MPI_Allgatherv");
  } else {
    const void* from = *root == rank ? MPI_IN_PLACE : sums;
    require_success(MPI_Gatherv(from, mine, type, data, all.counts.data(), all.starts.data(), type,
                                *root, comm),
                    "MPI_Gatherv");
  }
}

MPI_Op MpiReduction::op_for(DType dtype, ReduceOp op) const {
  if (const auto found = custom_.find({dtype, op}); found != custom_.end()) return found->second;
  switch (op) {
    case ReduceOp::Sum: return MPI_SUM;
    case ReduceOp::Min: return MPI_MIN;
    case ReduceOp::Max: return MPI_MAX;
  }
  return MPI_OP_NULL;
}

template <DType kDType, ReduceOp kOp>
void MpiReduction::create() {
  constexpr int kCommutes = 1;
  MPI_Op op = MPI_OP_NULL;
  require_success(MPI_Op_create(&reduce_callback<kDType, kOp>, kCommutes, &op), "MPI_Op_create");
  custom_[{kDType, kOp}] = op;
}

}  // namespace hone::distributed::detail

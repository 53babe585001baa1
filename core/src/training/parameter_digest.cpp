#include "training/parameter_digest.hpp"

#include <ATen/ops/sum.h>

#include <string>

#include "hone/core/communicator.hpp"
#include "hone/core/error.hpp"
#include "hone/core/model/parameter_store.hpp"

namespace hone::detail {

std::int64_t parameter_digest(const ParameterStore& parameters) {
  std::int64_t digest = 0;
  for (std::size_t i = 0; i < parameters.all().size(); ++i) {
    const auto words = parameters.trained(i).detach().reshape({-1}).view(at::kInt);
    digest = digest * 31 + words.sum(at::kLong).item<std::int64_t>();
  }
  return digest;
}

void require_equal_parameters(Communicator& comm, const ParameterStore& parameters) {
  const auto mine = parameter_digest(parameters);
  const auto all = comm.all_gather_bytes(std::as_bytes(std::span{&mine, 1}));
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    throw CommunicatorError{"rank " + std::to_string(rank) +
                            " holds other weights than rank 0. Do all ranks read the same model "
                            "folder or checkpoint?"};
  }
}

}  // namespace hone::detail

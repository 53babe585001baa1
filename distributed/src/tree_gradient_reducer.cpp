#include "hone/distributed/tree_gradient_reducer.hpp"

#include <algorithm>
#include <cstring>

#include "flat_sharing.hpp"
#include "reduce_kernels.hpp"

namespace hone::distributed {
namespace {

/// Units: bytes of a rank's buffer that are gathered at once; every rank holds as many of each
/// other.
constexpr std::int64_t kChunkBytes = std::int64_t{4} << 20;

using Parts = std::vector<std::vector<std::byte>>;

/// Neighbours are added level by level; the sum ends in the first part.
void add_as_tree(Parts& parts, std::int64_t count, DType dtype) {
  for (std::size_t distance = 1; distance < parts.size(); distance *= 2) {
    for (std::size_t i = 0; i + distance < parts.size(); i += 2 * distance) {
      detail::combine(parts[i].data(), parts[i + distance].data(), count, dtype, ReduceOp::Sum);
    }
  }
}

}  // namespace

void TreeGradientReducer::start(const FlatBuffer& gradients, std::int64_t, SumsFor) {
  if (comm_.size() == 1) return;
  const auto width = size_of(gradients.dtype);
  const auto chunk = kChunkBytes / width;
  for (std::int64_t begin = 0; begin < gradients.count; begin += chunk) {
    const auto count = std::min(chunk, gradients.count - begin);
    const auto size = static_cast<std::size_t>(count * width);
    auto* mine = static_cast<std::byte*>(detail::element(gradients, begin));
    auto parts = comm_.all_gather_bytes({mine, size});
    add_as_tree(parts, count, gradients.dtype);
    std::memcpy(mine, parts.front().data(), size);
  }
}

void TreeGradientReducer::share(std::span<const FlatBuffer> values) {
  detail::share(comm_, *this, values);
}

}  // namespace hone::distributed

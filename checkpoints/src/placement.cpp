#include "placement.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

namespace hone::checkpoints::detail {

std::vector<int> assign_by_bytes(std::span<const std::int64_t> bytes, int num_ranks) {
  std::vector<std::size_t> order(bytes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](auto left, auto right) { return bytes[left] > bytes[right]; });

  using Load = std::pair<std::int64_t, int>;  // bytes so far, rank
  std::priority_queue<Load, std::vector<Load>, std::greater<>> loads;
  for (int rank = 0; rank < num_ranks; ++rank) loads.emplace(0, rank);

  std::vector<int> owners(bytes.size());
  for (const auto item : order) {
    const auto [load, rank] = loads.top();
    loads.pop();
    owners[item] = rank;
    loads.emplace(load + bytes[item], rank);
  }
  return owners;
}

}  // namespace hone::checkpoints::detail

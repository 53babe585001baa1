#include "padding.hpp"

#include <algorithm>

namespace hone::collators::detail {

std::int64_t padded_width(std::span<const std::int64_t> lengths, std::int64_t multiple) {
  const auto longest = lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
  return (longest + multiple - 1) / multiple * multiple;
}

at::Tensor real_part(const at::Tensor& row, std::int64_t length, PaddingSide side) {
  return row.narrow(0, side == PaddingSide::Right ? 0 : row.size(0) - length, length);
}

}  // namespace hone::collators::detail

#pragma once

#include <algorithm>
#include <vector>

namespace hone::launcher {

/// The middle one, of two the larger. `values` are not empty.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace hone::launcher

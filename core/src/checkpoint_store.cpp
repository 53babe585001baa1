#include "hone/core/checkpoint_store.hpp"

namespace hone {

std::int64_t TensorBytes::num_elements() const {
  std::int64_t count = 1;
  for (const auto size : shape) count *= size;
  return count;
}

bool TensorBytes::is_piece() const {
  return first != 0 || static_cast<std::int64_t>(bytes.size()) != num_elements() * size_of(dtype);
}

}  // namespace hone

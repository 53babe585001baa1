#include "hone/core/checkpoint_store.hpp"

#include <utility>

namespace hone {

std::int64_t TensorBytes::num_elements() const {
  std::int64_t count = 1;
  for (const auto size : shape) count *= size;
  return count;
}

bool TensorBytes::is_piece() const {
  return first != 0 || static_cast<std::int64_t>(bytes.size()) != num_elements() * size_of(dtype);
}

void CheckpointStore::require_room(std::span<const TensorBytes> /*tensors*/) {}

void CheckpointStore::prepare_saves(std::span<const TensorBytes> /*tensors*/) {}

void CheckpointStore::start_save(const CheckpointContent& content) { saved_ = save(content); }

bool CheckpointStore::save_is_settled() const { return saved_.has_value(); }

void CheckpointStore::load_verified(const std::filesystem::path& checkpoint, const Load& load) {
  load(checkpoint);
}

std::filesystem::path CheckpointStore::finish_save() {
  return std::exchange(saved_, std::nullopt).value();
}

}  // namespace hone

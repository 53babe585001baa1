#include "snapshot_buffer.hpp"

#include <sys/mman.h>

#include <cstring>
#include <new>
#include <utility>

namespace hone::checkpoints::detail {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kPage = 4096;

std::size_t padded(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

std::size_t room_for(std::span<const TensorBytes> tensors) {
  std::size_t bytes = 0;
  for (const auto& tensor : tensors) bytes += padded(tensor.bytes.size());
  return bytes;
}

}  // namespace

SnapshotBuffer::~SnapshotBuffer() { release(); }

void SnapshotBuffer::release() {
  if (data_ != nullptr) munmap(data_, bytes_);
  data_ = nullptr;
  bytes_ = 0;
}

void SnapshotBuffer::reserve(std::span<const TensorBytes> tensors) {
  const auto bytes = room_for(tensors);
  if (bytes <= bytes_) return;
  release();
  void* const memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc{};
  data_ = static_cast<std::byte*>(memory);
  bytes_ = bytes;
  madvise(data_, bytes_, MADV_HUGEPAGE);  // fewer faults where the kernel has them
  for (std::size_t at = 0; at < bytes_; at += kPage) data_[at] = std::byte{0};
}

std::vector<TensorBytes> SnapshotBuffer::copy(std::span<const TensorBytes> tensors) {
  reserve(tensors);
  std::vector<TensorBytes> copies{tensors.begin(), tensors.end()};
  std::size_t at = 0;
  for (auto& tensor : copies) {
    const auto bytes = tensor.bytes.size();
    if (bytes > 0) std::memcpy(data_ + at, tensor.bytes.data(), bytes);
    tensor.bytes = {data_ + at, bytes};
    at += padded(bytes);
  }
  return copies;
}

}  // namespace hone::checkpoints::detail

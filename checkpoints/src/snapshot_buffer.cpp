#include "snapshot_buffer.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <utility>

#include "side_by_side.hpp"
#include "streaming_copy.hpp"

namespace hone::checkpoints::detail {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kPieceBytes = std::size_t{4} << 20;
static_assert(kPieceBytes % kAlignment == 0);

struct Piece {
  std::byte* to;
  std::span<const std::byte> from;
};

void append_pieces(std::vector<Piece>& pieces, std::byte* to, std::span<const std::byte> from) {
  for (std::size_t at = 0; at < from.size(); at += kPieceBytes) {
    pieces.push_back({to + at, from.subspan(at, std::min(kPieceBytes, from.size() - at))});
  }
}

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
  std::vector<Piece> pieces;
  std::size_t at = 0;
  for (auto& tensor : copies) {
    const std::span room{data_ + at, tensor.bytes.size()};
    if (const auto fetch = std::exchange(tensor.fetch, {})) {
      fetch(room);
    } else {
      append_pieces(pieces, room.data(), tensor.bytes);
    }
    tensor.bytes = room;
    at += padded(tensor.bytes.size());
  }
  // Training waits, and one core does not fill the memory's bandwidth.
  side_by_side(pieces.size(), [&](std::size_t i) { streaming_copy(pieces[i].to, pieces[i].from); });
  return copies;
}

}  // namespace hone::checkpoints::detail

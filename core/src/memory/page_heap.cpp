#include "hone/core/memory/page_heap.hpp"

#include <sys/mman.h>

#include <iterator>
#include <stdexcept>

namespace hone {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::size_t rounded_up(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

PageHeap::PageHeap(std::size_t reserved) : reserved_(rounded_up(reserved, kHugePage)) {
  void* const start = mmap(nullptr, reserved_, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) {
    reserved_ = 0;
    return;
  }
  begin_ = static_cast<std::byte*>(start);
  madvise(start, reserved_, MADV_HUGEPAGE);  // a wish: small pages do as well, more slowly
  add_free(0, reserved_);
}

PageHeap::~PageHeap() {
  if (begin_ != nullptr) munmap(begin_, reserved_);
}

void* PageHeap::allocate(std::size_t bytes) {
  const std::size_t size = rounded_up(bytes, kGranule);
  const std::scoped_lock lock{mutex_};
  const auto fitting = free_sizes_.lower_bound({size, 0});
  if (fitting == free_sizes_.end()) return nullptr;
  const auto [found, offset] = *fitting;
  remove_free(free_.find(offset));
  if (found > size) add_free(offset + size, found - size);
  taken_.emplace(offset, size);
  allocated_ += size;
  return begin_ + offset;
}

void PageHeap::deallocate(void* block) {
  const std::scoped_lock lock{mutex_};
  const auto taken = taken_.find(static_cast<Offset>(static_cast<std::byte*>(block) - begin_));
  if (taken == taken_.end()) throw std::logic_error{"a block is freed that was not allocated"};
  Offset begin = taken->first;
  std::size_t size = taken->second;
  taken_.erase(taken);
  allocated_ -= size;
  const auto after = free_.find(begin + size);
  if (after != free_.end()) {
    size += after->second;
    remove_free(after);
  }
  const auto next = free_.lower_bound(begin);
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == begin) {
      begin = before->first;
      size += before->second;
      remove_free(before);
    }
  }
  add_free(begin, size);
}

void PageHeap::release() {
  const std::scoped_lock lock{mutex_};
  for (const auto& [begin, size] : free_) madvise(begin_ + begin, size, MADV_DONTNEED);
}

std::size_t PageHeap::allocated() const {
  const std::scoped_lock lock{mutex_};
  return allocated_;
}

void PageHeap::add_free(Offset begin, std::size_t size) {
  free_.emplace(begin, size);
  free_sizes_.emplace(size, begin);
}

void PageHeap::remove_free(std::map<Offset, std::size_t>::iterator block) {
  free_sizes_.erase({block->second, block->first});
  free_.erase(block);
}

}  // namespace hone

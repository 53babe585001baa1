#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

namespace hone {

/// Large blocks of memory that come and go, as the tensors of a training step do. What was touched
/// once stays with the process, in huge pages where the kernel gives them: a step that allocates
/// what the one before it did has no page to wait for. Blocks are taken from one range of
/// addresses, the smallest free part that fits first, and free neighbours become one, so that steps
/// of ever other lengths find room.
///
/// Thread-safety: all methods.
class PageHeap {
 public:
  /// Blocks begin at multiples of it, and are as large.
  static constexpr std::size_t kGranule = std::size_t{64} << 10;

  /// Reserves that many bytes of addresses and no memory. Where the system refuses, every
  /// allocation fails.
  explicit PageHeap(std::size_t reserved);
  ~PageHeap();
  PageHeap(const PageHeap&) = delete;
  PageHeap& operator=(const PageHeap&) = delete;

  /// Null where there is no room. The contents are unspecified.
  void* allocate(std::size_t bytes);
  /// Whether allocate() returned it.
  bool owns(const void* block) const {
    return block >= begin_ && block < begin_ + reserved_;
  }
  /// What allocate() returned.
  void deallocate(void* block);

  /// Gives the memory of free blocks back to the system.
  void release();

  /// Units: bytes.
  std::size_t allocated() const;

 private:
  using Offset = std::size_t;

  void add_free(Offset begin, std::size_t size);
  void remove_free(std::map<Offset, std::size_t>::iterator block);

  mutable std::mutex mutex_;
  std::size_t reserved_ = 0;
  std::byte* begin_ = nullptr;
  std::map<Offset, std::size_t> free_;                  ///< by address
  std::set<std::pair<std::size_t, Offset>> free_sizes_;  ///< the same by size, then by address
  std::unordered_map<Offset, std::size_t> taken_;
  std::size_t allocated_ = 0;
};

}  // namespace hone

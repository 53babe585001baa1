#include "hone/core/memory/page_heap.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace hone {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

std::int64_t page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

TEST(PageHeap, BlocksAreAlignedAndApart) {
  PageHeap heap{64 * kMiB};
  auto* const first = static_cast<std::byte*>(heap.allocate(kMiB + 1));
  auto* const second = static_cast<std::byte*>(heap.allocate(kMiB));
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 4096, 0U);
  EXPECT_GE(second, first + kMiB + 1);
  EXPECT_TRUE(heap.owns(first));
  EXPECT_FALSE(heap.owns(&heap));
  std::memset(first, 1, kMiB + 1);
  std::memset(second, 2, kMiB);
  EXPECT_EQ(first[kMiB], std::byte{1});
  heap.deallocate(first);
  heap.deallocate(second);
  EXPECT_EQ(heap.allocated(), 0U);
}

TEST(PageHeap, FreeNeighboursBecomeOne) {
  PageHeap heap{6 * kMiB};
  std::vector<void*> blocks;
  while (auto* block = heap.allocate(kMiB)) blocks.push_back(block);
  ASSERT_EQ(blocks.size(), 6U);
  // Behind, before, between: each way of touching a free neighbour.
  for (const int i : {1, 0, 2, 5, 4, 3}) heap.deallocate(blocks[static_cast<std::size_t>(i)]);
  void* const all = heap.allocate(6 * kMiB);
  EXPECT_EQ(all, blocks[0]);
  EXPECT_EQ(heap.allocate(1), nullptr);
  heap.deallocate(all);
}

TEST(PageHeap, TheSmallestFreePartThatFitsIsTaken) {
  PageHeap heap{16 * kMiB};
  void* const large = heap.allocate(4 * kMiB);
  void* const between = heap.allocate(kMiB);
  void* const small = heap.allocate(2 * kMiB);
  void* const last = heap.allocate(kMiB);
  heap.deallocate(large);
  heap.deallocate(small);
  EXPECT_EQ(heap.allocate(kMiB + 1), small);
  EXPECT_EQ(heap.allocate(3 * kMiB), large);
  heap.deallocate(between);
  heap.deallocate(last);
}

TEST(PageHeap, MemoryThatWasTouchedIsThereTheNextTime) {
  PageHeap heap{64 * kMiB};
  const auto touch = [&] {
    void* const block = heap.allocate(32 * kMiB);
    const auto before = page_faults();
    std::memset(block, 1, 32 * kMiB);
    const auto faults = page_faults() - before;
    heap.deallocate(block);
    return faults;
  };
  EXPECT_GE(touch(), 16);
  EXPECT_EQ(touch(), 0);
  heap.release();
  EXPECT_GE(touch(), 16);
}

TEST(PageHeap, NoBlockOverlapsAnother) {
  PageHeap heap{32 * kMiB};
  std::mt19937 random{1};
  struct Block {
    std::uint32_t* data;
    std::size_t words;
    std::uint32_t mark;
  };
  std::vector<Block> blocks;
  for (std::uint32_t i = 0; i < 5000; ++i) {
    if (blocks.size() > 40 || (random() % 2 == 0 && !blocks.empty())) {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      const auto& [data, words, mark] = blocks.back();
      ASSERT_EQ(data[0], mark);
      ASSERT_EQ(data[words - 1], mark);
      heap.deallocate(data);
      blocks.pop_back();
      continue;
    }
    const std::size_t bytes = 4 + random() % (2 * kMiB);
    auto* const data = static_cast<std::uint32_t*>(heap.allocate(bytes));
    if (data == nullptr) continue;
    blocks.push_back({data, bytes / 4, i});
    data[0] = data[bytes / 4 - 1] = i;
  }
  for (const auto& block : blocks) heap.deallocate(block.data);
  EXPECT_NE(heap.allocate(32 * kMiB), nullptr);
}

TEST(PageHeap, WithoutAddressesEveryAllocationFails) {
  PageHeap heap{std::size_t{1} << 60};
  EXPECT_EQ(heap.allocate(1), nullptr);
  EXPECT_FALSE(heap.owns(&heap));
}

TEST(PageHeap, WhatIsFreedTwiceIsNoticed) {
  PageHeap heap{4 * kMiB};
  void* const block = heap.allocate(kMiB);
  heap.deallocate(block);
  EXPECT_THROW(heap.deallocate(block), std::logic_error);
}

}  // namespace
}  // namespace hone

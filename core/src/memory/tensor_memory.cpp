#include "hone/core/memory/tensor_memory.hpp"

#include <c10/core/CPUAllocator.h>
#include <malloc.h>
#include <unistd.h>

#include <cstddef>
#include <new>

#include "hone/core/memory/page_heap.hpp"

namespace hone {
namespace {

/// Units: bytes. malloc does well with what is smaller.
constexpr std::size_t kLarge = std::size_t{256} << 10;

/// The machine's memory. Tensors that go beyond it, in swap, say, come from malloc.
std::size_t physical_memory() {
  return static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

PageHeap& heap() {
  // Never destroyed: tensors of static lifetime may end after it.
  static auto* const heap = new PageHeap{physical_memory()};
  return *heap;
}

class KeepingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    void* block = bytes < kLarge ? nullptr : heap().allocate(bytes);
    if (block != nullptr) {
      c10::profiledCPUMemoryReporter().New(block, bytes);
    } else {
      block = others().raw_allocate(bytes);
    }
    return {block, block, &free_block, c10::Device{c10::DeviceType::CPU}};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }

  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

 private:
  /// Where small blocks come from, and what the heap has no room for.
  static c10::Allocator& others() { return *c10::GetDefaultCPUAllocator(); }

  static void free_block(void* block) {
    if (!heap().owns(block)) return others().raw_deallocate(block);
    c10::profiledCPUMemoryReporter().Delete(block);
    heap().deallocate(block);
  }
};

}  // namespace

void keep_tensor_memory() {
  // Never destroyed, for tensors of static lifetime come back to it.
  alignas(KeepingAllocator) static std::byte memory[sizeof(KeepingAllocator)];
  static const bool once = [] {
    c10::SetCPUAllocator(new (memory) KeepingAllocator, /*priority=*/1);
    return true;
  }();
  static_cast<void>(once);
}

void release_tensor_memory() {
  heap().release();
  malloc_trim(0);
}

}  // namespace hone

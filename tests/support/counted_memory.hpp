#pragma once

#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace hone::testing {

/// The default allocator, with a count of the bytes that are out and of the most that were. There
/// is one.
class CountingAllocator final : public c10::Allocator {
 public:
  static CountingAllocator& instance() {
    static auto* counting = new CountingAllocator;  // tensors of libraries may outlive a test
    return *counting;
  }
  at::DataPtr allocate(std::size_t bytes) override {
    auto data = c10::GetDefaultCPUAllocator()->allocate(bytes);
    void* const pointer = data.release_context();
    if (pointer == nullptr) return {nullptr, nullptr, &CountingAllocator::release, at::kCPU};
    const std::lock_guard lock{mutex_};
    sizes_[pointer] = static_cast<std::int64_t>(bytes);
    now_ += static_cast<std::int64_t>(bytes);
    peak_ = std::max(peak_, now_);
    return {pointer, pointer, &CountingAllocator::release, at::kCPU};
  }
  at::DeleterFnPtr raw_deleter() const override { return &CountingAllocator::release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
  void begin() { peak_ = now_; }
  std::int64_t risen() const { return peak_ - start_; }
  void mark() { start_ = now_; }

 private:
  static void release(void* pointer) {
    if (pointer == nullptr) return;
    auto& self = instance();
    {
      const std::lock_guard lock{self.mutex_};
      self.now_ -= self.sizes_.extract(pointer).mapped();
    }
    c10::GetDefaultCPUAllocator()->raw_deleter()(pointer);
  }
  std::mutex mutex_;
  std::unordered_map<void*, std::int64_t> sizes_;
  std::int64_t now_ = 0, peak_ = 0, start_ = 0;
};

/// Installed for the time of one test.
class CountedMemory : public ::testing::Test {
 protected:
  void SetUp() override { c10::SetCPUAllocator(&allocator(), /*priority=*/255); }
  void TearDown() override { c10::SetCPUAllocator(c10::GetDefaultCPUAllocator(), 255); }
  static CountingAllocator& allocator() { return CountingAllocator::instance(); }
};

}  // namespace hone::testing

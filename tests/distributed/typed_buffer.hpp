#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include "half_precision.hpp"
#include "hone/core/dtype.hpp"

namespace hone::testing {

inline constexpr std::array kAllDTypes{DType::UInt8,   DType::Int64,    DType::Float32,
                                       DType::Float64, DType::BFloat16, DType::Float16};

/// `count` elements of a DType that is chosen at run time, read and written as numbers, with a
/// guard behind the last one.
class TypedBuffer {
 public:
  TypedBuffer(DType dtype, std::int64_t count)
      : TypedBuffer(dtype, count,
                    std::shared_ptr<std::byte>(new std::byte[with_guard(dtype, count)],
                                               std::default_delete<std::byte[]>())) {}

  /// In memory of with_guard(dtype, count) bytes.
  TypedBuffer(DType dtype, std::int64_t count, std::shared_ptr<std::byte> memory)
      : dtype_(dtype), count_(count), memory_(std::move(memory)) {
    std::ranges::fill(all_bytes(), kGuard);
  }

  static std::size_t with_guard(DType dtype, std::int64_t count) {
    return static_cast<std::size_t>(count * size_of(dtype)) + kGuardBytes;
  }

  void* data() { return memory_.get(); }
  std::span<const std::byte> bytes() const {
    return all_bytes().first(all_bytes().size() - kGuardBytes);
  }

  double value(std::int64_t index) const {
    switch (dtype_) {
      case DType::UInt8: return get<std::uint8_t>(index);
      case DType::Int64: return static_cast<double>(get<std::int64_t>(index));
      case DType::Float32: return get<float>(index);
      case DType::Float64: return get<double>(index);
      case DType::BFloat16:
        return distributed::detail::bfloat16_to_float(get<std::uint16_t>(index));
      case DType::Float16: return distributed::detail::float16_to_float(get<std::uint16_t>(index));
    }
    return 0;
  }

  /// Element i becomes function(i).
  template <typename Function>
  void fill(Function function) {
    for (std::int64_t i = 0; i < count_; ++i) set(i, static_cast<double>(function(i)));
  }

  /// Element i is function(i), for all of them, and nothing behind the last was touched.
  template <typename Function>
  void expect(Function function) const {
    std::int64_t num_wrong = 0;
    std::int64_t first_wrong = -1;
    for (std::int64_t i = 0; i < count_; ++i) {
      if (value(i) == static_cast<double>(function(i))) continue;
      if (num_wrong++ == 0) first_wrong = i;
    }
    EXPECT_EQ(num_wrong, 0) << "first at " << first_wrong << ": "
                            << (first_wrong < 0 ? 0.0 : value(first_wrong));
    for (const auto guard : all_bytes().last(kGuardBytes)) EXPECT_EQ(guard, kGuard);
  }

 private:
  static constexpr std::size_t kGuardBytes = 16;
  static constexpr std::byte kGuard{0xA5};

  std::span<std::byte> all_bytes() const { return {memory_.get(), with_guard(dtype_, count_)}; }

  template <typename T>
  T get(std::int64_t index) const {
    T value;
    std::memcpy(&value, memory_.get() + index * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
    return value;
  }

  template <typename T>
  void put(std::int64_t index, T value) {
    std::memcpy(memory_.get() + index * static_cast<std::int64_t>(sizeof(T)), &value, sizeof(T));
  }

  void set(std::int64_t index, double value) {
    switch (dtype_) {
      case DType::UInt8: return put(index, static_cast<std::uint8_t>(value));
      case DType::Int64: return put(index, static_cast<std::int64_t>(value));
      case DType::Float32: return put(index, static_cast<float>(value));
      case DType::Float64: return put(index, value);
      case DType::BFloat16:
        return put(index, distributed::detail::float_to_bfloat16(static_cast<float>(value)));
      case DType::Float16:
        return put(index, distributed::detail::float_to_float16(static_cast<float>(value)));
    }
  }

  DType dtype_;
  std::int64_t count_;
  std::shared_ptr<std::byte> memory_;
};

}  // namespace hone::testing

#include "reduce_kernels.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <type_traits>

#include "half_precision.hpp"

namespace hone::distributed::detail {
namespace {

/// How a DType lies in memory (Stored) and in which type it is computed (Value).
template <typename T>
struct Plain {
  using Stored = T;
  using Value = T;
  static Value load(Stored stored) { return stored; }
  static Stored store(Value value) { return value; }
};

struct BFloat16 {
  using Stored = std::uint16_t;
  using Value = float;
  static Value load(Stored stored) { return bfloat16_to_float(stored); }
  static Stored store(Value value) { return float_to_bfloat16(value); }
};

struct Float16 {
  using Stored = std::uint16_t;
  using Value = float;
  static Value load(Stored stored) { return float16_to_float(stored); }
  static Stored store(Value value) { return float_to_float16(value); }
};

template <typename Value>
Value add(Value left, Value right) {
  if constexpr (std::is_integral_v<Value>) {
    using Unsigned = std::make_unsigned_t<Value>;  // signed overflow would be undefined
    return static_cast<Value>(static_cast<Unsigned>(left) + static_cast<Unsigned>(right));
  } else {
    return left + right;
  }
}

template <bool kWantMin, typename Value>
Value extreme(Value left, Value right) {
  if constexpr (std::is_floating_point_v<Value>) {
    if (std::isnan(left) || std::isnan(right)) return std::numeric_limits<Value>::quiet_NaN();
    if (left == right) return std::signbit(left) == kWantMin ? left : right;  // -0 against +0
  }
  return (left < right) == kWantMin ? left : right;
}

template <ReduceOp kOp, typename Value>
Value apply(Value left, Value right) {
  if constexpr (kOp == ReduceOp::Sum) return add(left, right);
  return extreme<kOp == ReduceOp::Min>(left, right);
}

template <typename Element, ReduceOp kOp>
struct Kernel {
  using Stored = typename Element::Stored;
  using Value = typename Element::Value;

  static void combine(void* into, const void* from, std::int64_t count) {
    auto* left = static_cast<Stored*>(into);
    const auto* right = static_cast<const Stored*>(from);
    for (std::int64_t i = 0; i < count; ++i) {
      left[i] = Element::store(apply<kOp>(Element::load(left[i]), Element::load(right[i])));
    }
  }

  static void reduce_in_order(std::span<void* const> buffers, std::span<void* const> results,
                              std::int64_t first, std::int64_t count) {
    if (buffers.size() == 2 && std::ranges::equal(buffers, results)) {
      return reduce_pair(at(buffers[0], first), at(buffers[1], first), count);
    }
    const std::int64_t end = first + count;
    std::int64_t start = first;
    for (; start + kBlock <= end; start += kBlock) {
      reduce_block(buffers, results, start, std::integral_constant<std::int64_t, kBlock>{});
    }
    reduce_block(buffers, results, start, end - start);
  }

 private:
  /// Elements. So few that the next block is being read while one is written: blocks of 2048 take
  /// half as long again.
  static constexpr std::int64_t kBlock = 64;

  /// `count` is a number, or a constant of that type.
  template <typename Count>
  static void reduce_block(std::span<void* const> buffers, std::span<void* const> results,
                           std::int64_t start, Count count) {
    std::array<Value, kBlock> running;
    load(running.data(), at(buffers[0], start), count);
    for (const auto buffer : buffers.subspan(1)) fold(running.data(), at(buffer, start), count);
    for (const auto result : results) store(at(result, start), running.data(), count);
  }

  /// The commonest case in one pass, as fast as memory is.
  static void reduce_pair(Stored* __restrict left, Stored* __restrict right, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
      const auto result =
          Element::store(apply<kOp>(Element::load(left[i]), Element::load(right[i])));
      left[i] = result;
      right[i] = result;
    }
  }

  static Stored* at(void* buffer, std::int64_t index) {
    return static_cast<Stored*>(buffer) + index;
  }
  template <typename Count>
  static void load(Value* running, const Stored* from, Count count) {
    for (std::int64_t i = 0; i < count; ++i) running[i] = Element::load(from[i]);
  }
  template <typename Count>
  static void fold(Value* running, const Stored* from, Count count) {
    for (std::int64_t i = 0; i < count; ++i) {
      running[i] = apply<kOp>(running[i], Element::load(from[i]));
    }
  }
  template <typename Count>
  static void store(Stored* into, const Value* running, Count count) {
    for (std::int64_t i = 0; i < count; ++i) into[i] = Element::store(running[i]);
  }
};

/// Calls `function` with the Kernel of an element type and an operation.
template <typename Element, typename Function>
void with_op(ReduceOp op, Function function) {
  switch (op) {
    case ReduceOp::Sum: return function(Kernel<Element, ReduceOp::Sum>{});
    case ReduceOp::Min: return function(Kernel<Element, ReduceOp::Min>{});
    case ReduceOp::Max: return function(Kernel<Element, ReduceOp::Max>{});
  }
}

template <typename Function>
void with_kernel(DType dtype, ReduceOp op, Function function) {
  switch (dtype) {
    case DType::UInt8: return with_op<Plain<std::uint8_t>>(op, function);
    case DType::Int64: return with_op<Plain<std::int64_t>>(op, function);
    case DType::Float32: return with_op<Plain<float>>(op, function);
    case DType::Float64: return with_op<Plain<double>>(op, function);
    case DType::BFloat16: return with_op<BFloat16>(op, function);
    case DType::Float16: return with_op<Float16>(op, function);
  }
}

}  // namespace

void combine(void* into, const void* from, std::int64_t count, DType dtype, ReduceOp op) {
  with_kernel(dtype, op, [&](auto kernel) { kernel.combine(into, from, count); });
}

void reduce_in_order(std::span<void* const> buffers, std::span<void* const> results,
                     std::int64_t first, std::int64_t count, DType dtype, ReduceOp op) noexcept {
  with_kernel(dtype, op,
              [&](auto kernel) { kernel.reduce_in_order(buffers, results, first, count); });
}

}  // namespace hone::distributed::detail

#include "reduction.hpp"

#include <cmath>
#include <cstdint>

#include "half_precision.hpp"
#include "hone/core/dtype.hpp"
#include "reduce_kernels.hpp"
#include "script.hpp"

namespace hone::testing {
namespace {

using distributed::NcclDataType;
using distributed::NcclReduceOp;

DType dtype_of(NcclDataType type) {
  switch (type) {
    case NcclDataType::UInt8: return DType::UInt8;
    case NcclDataType::Int64: return DType::Int64;
    case NcclDataType::Float16: return DType::Float16;
    case NcclDataType::Float32: return DType::Float32;
    case NcclDataType::Float64: return DType::Float64;
    case NcclDataType::BFloat16: return DType::BFloat16;
  }
  violation("unknown data type");
}

ReduceOp op_of(NcclReduceOp op) {
  switch (op) {
    case NcclReduceOp::Sum: return ReduceOp::Sum;
    case NcclReduceOp::Max: return ReduceOp::Max;
    case NcclReduceOp::Min: return ReduceOp::Min;
  }
  violation("unknown reduction");
}

/// fminf and fmaxf drop a NaN: NCCL's min and max do not do what hone's kernels do.
template <typename Stored, typename Load, typename Store>
void extreme(void* into, const void* from, std::size_t count, bool minimum, Load load,
             Store store) {
  auto* left = static_cast<Stored*>(into);
  const auto* right = static_cast<const Stored*>(from);
  for (std::size_t i = 0; i < count; ++i) {
    const auto a = load(left[i]);
    const auto b = load(right[i]);
    left[i] = store(minimum ? std::fmin(a, b) : std::fmax(a, b));
  }
}

}  // namespace

std::size_t element_bytes(NcclDataType type) {
  return static_cast<std::size_t>(size_of(dtype_of(type)));
}

void reduce(std::span<std::byte> into, std::span<const std::byte> from, NcclDataType type,
            NcclReduceOp op) {
  namespace detail = distributed::detail;
  const auto count = into.size() / element_bytes(type);
  const bool minimum = op == NcclReduceOp::Min;
  const auto same = [](auto value) { return value; };
  if (op != NcclReduceOp::Sum) {
    switch (type) {
      case NcclDataType::Float32:
        return extreme<float>(into.data(), from.data(), count, minimum, same, same);
      case NcclDataType::Float64:
        return extreme<double>(into.data(), from.data(), count, minimum, same, same);
      case NcclDataType::BFloat16:
        return extreme<std::uint16_t>(into.data(), from.data(), count, minimum,
                                      detail::bfloat16_to_float, detail::float_to_bfloat16);
      case NcclDataType::Float16:
        return extreme<std::uint16_t>(into.data(), from.data(), count, minimum,
                                      detail::float16_to_float, detail::float_to_float16);
      default: break;
    }
  }
  detail::combine(into.data(), from.data(), static_cast<std::int64_t>(count), dtype_of(type),
                  op_of(op));
}

}  // namespace hone::testing

#include "model/kernels/row_kernels.hpp"

namespace hone::detail {

#define HONE_DECLARE_ROW_KERNELS(variant)          \
  namespace variant {                              \
  const RowKernels<float>& of_float();             \
  const RowKernels<std::uint16_t>& of_bfloat16();  \
  }
HONE_DECLARE_ROW_KERNELS(baseline)
HONE_DECLARE_ROW_KERNELS(avx2)
HONE_DECLARE_ROW_KERNELS(avx512)

namespace {

enum class Vectors { Baseline, Avx2, Avx512 };

Vectors widest() {
#if defined(__x86_64__)
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512) return Vectors::Avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Vectors::Avx2;
#endif
  return Vectors::Baseline;
}

const Vectors kVectors = widest();

}  // namespace

template <>
const RowKernels<float>& row_kernels() {
#if defined(__x86_64__)
  if (kVectors == Vectors::Avx512) return avx512::of_float();
  if (kVectors == Vectors::Avx2) return avx2::of_float();
#endif
  return baseline::of_float();
}

template <>
const RowKernels<std::uint16_t>& row_kernels() {
#if defined(__x86_64__)
  if (kVectors == Vectors::Avx512) return avx512::of_bfloat16();
  if (kVectors == Vectors::Avx2) return avx2::of_bfloat16();
#endif
  return baseline::of_bfloat16();
}

}  // namespace hone::detail

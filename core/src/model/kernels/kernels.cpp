#include "model/kernels/kernels.hpp"

#include <vector>

namespace hone::detail {

#define HONE_DECLARE_KERNELS(variant)           \
  namespace variant {                           \
  const Kernels<float>& of_float();             \
  const Kernels<std::uint16_t>& of_bfloat16();  \
  }
HONE_DECLARE_KERNELS(baseline)
HONE_DECLARE_KERNELS(avx2)
HONE_DECLARE_KERNELS(avx512)
HONE_DECLARE_KERNELS(avx512bf16)

namespace {

struct Variants {
  std::vector<const Kernels<float>*> of_float;
  std::vector<const Kernels<std::uint16_t>*> of_bfloat16;

  Variants() {
#if defined(__x86_64__)
    const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (has_avx512 && __builtin_cpu_supports("avx512bf16")) {
      add(avx512bf16::of_float(), avx512bf16::of_bfloat16());
    }
    if (has_avx512) add(avx512::of_float(), avx512::of_bfloat16());
    if (has_avx2) add(avx2::of_float(), avx2::of_bfloat16());
#endif
    add(baseline::of_float(), baseline::of_bfloat16());
  }

 private:
  void add(const Kernels<float>& floats, const Kernels<std::uint16_t>& bfloat16s) {
    of_float.push_back(&floats);
    of_bfloat16.push_back(&bfloat16s);
  }
};

const Variants& variants() {
  static const Variants usable;
  return usable;
}

}  // namespace

template <>
std::span<const Kernels<float>* const> usable_kernels<float>() {
  return variants().of_float;
}

template <>
std::span<const Kernels<std::uint16_t>* const> usable_kernels<std::uint16_t>() {
  return variants().of_bfloat16;
}

}  // namespace hone::detail

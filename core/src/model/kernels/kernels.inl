// All loops for whatever processor the including file is compiled for: of_float() and of_bfloat16()
// in the namespace HONE_KERNELS.
#include "model/kernels/kernels.hpp"

#include "model/kernels/attention_kernels.inl"
#include "model/kernels/decode_kernels.inl"
#include "model/kernels/row_kernels.inl"

namespace hone::detail::HONE_KERNELS {
namespace {

template <typename T>
constexpr Kernels<T> kKernels{
    .rows = kRowKernels<T>, .decode = kDecodeKernels<T>, .attention = kAttentionKernels<T>};

}  // namespace

const Kernels<float>& of_float() { return kKernels<float>; }
const Kernels<std::uint16_t>& of_bfloat16() { return kKernels<std::uint16_t>; }

}  // namespace hone::detail::HONE_KERNELS

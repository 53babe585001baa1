#include "model/varlen_attention.hpp"

#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/tensor.h>

#include <vector>

namespace hone::detail {

bool has_varlen_kernel(const at::Tensor& q) {
  const bool is_narrow = q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf;
  return q.is_cuda() && is_narrow && fits_varlen_kernel(q.size(2));
}

at::Tensor sequence_bounds(std::span<const std::int64_t> lengths, at::Device device) {
  std::vector<std::int32_t> bounds{0};
  for (const auto length : lengths) {
    bounds.push_back(bounds.back() + static_cast<std::int32_t>(length));
  }
  return at::tensor(bounds, at::kInt).to(device, /*non_blocking=*/true);
}

at::Tensor varlen_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& bounds, std::int64_t longest, double scale) {
  return std::get<0>(at::_flash_attention_forward(q, k, v, bounds, bounds, longest, longest,
                                                  /*dropout_p=*/0.0, /*is_causal=*/true,
                                                  /*return_debug_mask=*/false, scale));
}

}  // namespace hone::detail

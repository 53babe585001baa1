#include "model/varlen_attention.hpp"

#include <ATen/ops/_efficient_attention_forward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <vector>

namespace hone::detail {

namespace {

/// Shape: x (N, K, D); returns (1, N, H, D), each key head `group` times.
at::Tensor for_each_query_head(const at::Tensor& x, std::int64_t group) {
  const auto tokens = x.size(0), heads = x.size(1), dim = x.size(2);
  if (group == 1) return x.unsqueeze(0);
  return x.unsqueeze(2).expand({tokens, heads, group, dim}).reshape({1, tokens, heads * group, dim});
}

/// Source: Rabe and Staats, Self-attention Does Not Need O(n^2) Memory (2021), as LibTorch has it.
at::Tensor by_float32_kernel(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const at::Tensor& bounds, std::int64_t longest, double scale) {
  constexpr std::int64_t kCausalFromTopLeft = 1;
  const auto group = q.size(1) / k.size(1);
  const auto result = at::_efficient_attention_forward(
      q.unsqueeze(0), for_each_query_head(k, group), for_each_query_head(v, group), /*bias=*/{},
      bounds, bounds, longest, longest, /*dropout_p=*/0.0, kCausalFromTopLeft,
      /*compute_log_sumexp=*/c10::GradMode::is_enabled(), scale);
  return std::get<0>(result).squeeze(0);
}

}  // namespace

bool has_varlen_kernel(const at::Tensor& q) {
  const auto bytes = q.element_size();
  return q.is_cuda() && (bytes == 2 || bytes == 4) && fits_varlen_kernel(q.size(2), bytes);
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
  if (q.element_size() == 4) return by_float32_kernel(q, k, v, bounds, longest, scale);
  return std::get<0>(at::_flash_attention_forward(q, k, v, bounds, bounds, longest, longest,
                                                  /*dropout_p=*/0.0, /*is_causal=*/true,
                                                  /*return_debug_mask=*/false, scale));
}

}  // namespace hone::detail

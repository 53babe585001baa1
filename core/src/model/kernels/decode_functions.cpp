#include "model/kernels/decode_functions.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <vector>

#include "model/kernels/kernels.hpp"
#include "model/kernels/stored_type.hpp"

namespace hone::detail {
namespace {

/// Beyond, a library's product is faster: it arranges weights for its tiles first, which pays with
/// so many rows.
constexpr std::int64_t kFewRows = 64;

/// Numbers read that are worth waking a thread for.
constexpr std::int64_t kGrain = 32 * 1024;

/// Threads take multiples of so many outputs: whole tiles of any kernel, be they of 1, 3 or 4.
constexpr std::int64_t kOutputs = 12;

/// Numbers of the same type in the same memory, one behind another.
bool is_beside(const at::Tensor& tensor, const at::Tensor& x) {
  return tensor.device() == x.device() && tensor.scalar_type() == x.scalar_type() &&
         tensor.is_contiguous();
}

bool fits(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return x.dim() == 2 && weight.dim() == 2 && x.numel() > 0 && weight.size(1) == x.size(1) &&
         is_beside(weight, x) &&
         (!bias.defined() || (bias.dim() == 1 && bias.size(0) == weight.size(0) && is_beside(bias, x)));
}

std::int64_t tiles_of(const LinearLayer& layer) {
  return (layer.weight.size(0) + kOutputs - 1) / kOutputs;
}

}  // namespace

bool has_few_rows(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return c10::InferenceMode::is_enabled() && has_kernels(x) && fits(x, weight, bias) &&
         x.size(0) <= kFewRows;
}

std::vector<at::Tensor> products_of_few_rows(const at::Tensor& x,
                                             std::span<const LinearLayer> layers) {
  const auto rows = x.size(0), inner = x.size(1);
  const auto given = x.contiguous();
  auto unpacked = at::empty({rows, inner}, x.options().dtype(at::kFloat));
  std::vector<at::Tensor> results;
  std::int64_t tiles = 0;  // of all layers
  for (const auto& layer : layers) {
    results.push_back(at::empty({rows, layer.weight.size(0)}, x.options()));
    tiles += tiles_of(layer);
  }
  with_stored_type(x, [&]<typename T>(T) {
    const auto& decode = kernels<T>().decode;
    for (std::int64_t row = 0; row < rows; ++row) {
      decode.unpack(data<T>(given) + row * inner, inner, data<float>(unpacked) + row * inner);
    }
    /// Tiles `begin` to `end` of one layer.
    const auto multiply = [&](const LinearLayer& layer, std::int64_t begin, std::int64_t end,
                              at::Tensor& out) {
      const auto outputs = layer.weight.size(0);
      const auto first = begin * kOutputs, last = std::min(end * kOutputs, outputs);
      decode.product(data<float>(unpacked), rows, data<T>(layer.weight) + first * inner,
                     layer.bias.defined() ? data<T>(layer.bias) + first : nullptr, inner,
                     last - first, data<T>(out) + first, outputs);
    };
    const auto grain = std::max<std::int64_t>(1, kGrain / (kOutputs * inner));
    at::parallel_for(0, tiles, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::size_t i = 0; i < layers.size(); ++i) {
        const auto own = tiles_of(layers[i]);
        if (begin < own && end > 0) {
          multiply(layers[i], std::max<std::int64_t>(0, begin), std::min(end, own), results[i]);
        }
        begin -= own;
        end -= own;
      }
    });
  });
  return results;
}

at::Tensor attend_cached(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values,
                         std::span<const std::int64_t> lengths, double scale,
                         const at::Tensor& added) {
  const auto kv_heads = keys.size(1), room = keys.size(2), dim = keys.size(3);
  const auto group = q.size(1) / kv_heads;
  const auto longest = *std::ranges::max_element(lengths);
  const auto given = q.contiguous();
  auto out = at::empty(q.sizes(), q.options());
  with_stored_type(q, [&]<typename T>(T) {
    const auto attend_head = [&](std::int64_t head, float* scratch) {
      const auto row = head / kv_heads;
      kernels<T>().decode.attend(data<T>(given) + head * group * dim,
                                 data<T>(keys) + head * room * dim,
                                 data<T>(values) + head * room * dim, group,
                                 lengths[static_cast<std::size_t>(row)], dim,
                                 static_cast<float>(scale),
                                 added.defined() ? data<float>(added) + head * group * longest
                                                 : nullptr,
                                 longest, scratch, data<T>(out) + head * group * dim);
    };
    const auto grain = std::max<std::int64_t>(1, kGrain / (2 * group * longest * dim));
    at::parallel_for(0, q.size(0) * kv_heads, grain, [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> scratch(static_cast<std::size_t>(group * (2 * dim + longest)));
      for (auto head = begin; head < end; ++head) attend_head(head, scratch.data());
    });
  });
  return out;
}

}  // namespace hone::detail

#include "model/packed_attention.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <numeric>
#include <type_traits>
#include <vector>

#include "model/kernels/kernels.hpp"
#include "model/kernels/stored_type.hpp"

namespace hone::detail {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// One sequence's queries that share a key head.
struct Part {
  std::int64_t begin, length;  ///< of the sequence, in tokens
  std::int64_t kv_head;
};

/// The longest sequences first, so that threads end together.
std::vector<Part> parts_of(const std::vector<std::int64_t>& lengths, std::int64_t kv_heads) {
  std::vector<Part> parts;
  std::int64_t begin = 0;
  for (const auto length : lengths) {
    for (std::int64_t head = 0; head < kv_heads; ++head) parts.push_back({begin, length, head});
    begin += length;
  }
  std::ranges::stable_sort(parts, std::greater{}, &Part::length);
  return parts;
}

/// Calls `work(part, scratch)` for each part on whichever thread is free. Shape: scratch (size).
template <typename Work>
void over_parts(const std::vector<Part>& parts, std::int64_t scratch_size, Work work) {
  const auto threads = std::min<std::int64_t>(at::get_num_threads(), std::ssize(parts));
  auto scratch = at::empty({threads, scratch_size}, at::kFloat);
  std::atomic<std::size_t> next = 0;
  at::parallel_for(0, threads, 1, [&](std::int64_t first, std::int64_t last) {
    for (auto thread = first; thread < last; ++thread) {
      auto* const own = data<float>(scratch) + thread * scratch_size;
      for (auto at = next++; at < parts.size(); at = next++) work(parts[at], own);
    }
  });
}

/// The rows of a part's heads in x, of which each key head has `group`; to be written where x is
/// not const. Shape: x (N, heads, D).
template <typename T, typename Tensor>
auto rows_of(Tensor& x, const Part& part, std::int64_t group) {
  using Number = std::remove_pointer_t<decltype(data<T>(x))>;
  const auto offset = part.begin * x.stride(0) + part.kv_head * group * x.size(2);
  return HeadRows<Number>{data<T>(x) + offset, x.stride(0)};
}

/// Those of a part's heads, in rows of N. Shape: normalizers (H, N).
template <typename Tensor>
auto* normalizers_of(Tensor& normalizers, const Part& part, std::int64_t group) {
  return data<float>(normalizers) + part.kv_head * group * normalizers.size(1) + part.begin;
}

/// Heads one behind another in each row, rows as far apart as they like.
at::Tensor with_heads_together(const at::Tensor& x) {
  const bool is_together = x.stride(2) == 1 && x.stride(1) == x.size(2);
  return is_together ? x : x.contiguous();
}

/// Queries, keys and values of all sequences.
struct Inputs {
  at::Tensor q, k, v;
  double scale;

  std::int64_t group() const { return q.size(1) / k.size(1); }

  template <typename T>
  AttentionTask<T> task(const Part& part) const {
    return {.q = rows_of<T>(q, part, group()),
            .k = rows_of<T>(k, part, 1),
            .v = rows_of<T>(v, part, 1),
            .length = part.length,
            .dim = q.size(2),
            .group = group(),
            .scale = static_cast<float>(scale)};
  }
  /// Enough for each part, of which the first is the longest.
  template <typename T>
  std::int64_t scratch_size(const std::vector<Part>& parts) const {
    return kernels<T>().attention.scratch(parts.front().length, q.size(2));
  }
};

/// Shape: normalizers (H, N), written.
void attend(const Inputs& in, const std::vector<std::int64_t>& lengths, at::Tensor& out,
            at::Tensor& normalizers) {
  RECORD_FUNCTION("hone::attention", c10::ArrayRef<const c10::IValue>{});
  const auto parts = parts_of(lengths, in.k.size(1));
  const auto group = in.group();
  with_stored_type(in.q, [&]<typename T>(T) {
    over_parts(parts, in.scratch_size<T>(parts), [&](const Part& part, float* scratch) {
      kernels<T>().attention.forward(
          in.task<T>(part), scratch, rows_of<T>(out, part, group),
          normalizers_of(normalizers, part, group), normalizers.size(1));
    });
  });
}

struct PackedAttention : torch::autograd::Function<PackedAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, const std::vector<std::int64_t>& lengths,
                            double scale) {
    const Inputs in{with_heads_together(q), with_heads_together(k), with_heads_together(v), scale};
    auto out = at::empty(q.sizes(), q.options());
    auto normalizers = at::empty({q.size(1), q.size(0)}, q.options().dtype(at::kFloat));
    attend(in, lengths, out, normalizers);
    context->save_for_backward({in.q, in.k, in.v, out, normalizers});
    context->saved_data["lengths"] = lengths;
    context->saved_data["scale"] = scale;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    RECORD_FUNCTION("hone::attention_backward", c10::ArrayRef<const c10::IValue>{});
    const auto kept = context->get_saved_variables();
    const Inputs in{kept[0], kept[1], kept[2], context->saved_data["scale"].toDouble()};
    const auto &out = kept[3], &normalizers = kept[4];
    const auto of_out = gradients[0].contiguous();
    auto of_q = at::empty(in.q.sizes(), in.q.options());
    auto of_k = at::empty(in.k.sizes(), in.k.options());
    auto of_v = at::empty(in.v.sizes(), in.v.options());
    const auto parts = parts_of(context->saved_data["lengths"].toIntVector(), in.k.size(1));
    const auto group = in.group();
    with_stored_type(in.q, [&]<typename T>(T) {
      over_parts(parts, in.scratch_size<T>(parts), [&](const Part& part, float* scratch) {
        kernels<T>().attention.backward(
            in.task<T>(part), scratch,
            normalizers_of(normalizers, part, group), normalizers.size(1),
            {.out = rows_of<T>(out, part, group),
             .of_out = rows_of<T>(of_out, part, group),
             .of_q = rows_of<T>(of_q, part, group),
             .of_k = rows_of<T>(of_k, part, 1),
             .of_v = rows_of<T>(of_v, part, 1)});
      });
    });
    return {of_q, of_k, of_v, at::Tensor{}, at::Tensor{}};
  }
};

void require_that_fits(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       std::span<const std::int64_t> lengths) {
  const auto tokens = std::reduce(lengths.begin(), lengths.end());
  TORCH_CHECK(q.dim() == 3 && k.dim() == 3 && q.size(0) == tokens && k.size(0) == tokens,
              "attention over ", tokens, " tokens got q ", q.sizes(), " and k ", k.sizes());
  TORCH_CHECK(k.sizes() == v.sizes() && q.size(2) == k.size(2) && k.size(1) > 0 &&
                  q.size(1) % k.size(1) == 0,
              "attention got q ", q.sizes(), ", k ", k.sizes(), " and v ", v.sizes());
  TORCH_CHECK(q.scalar_type() == k.scalar_type() && q.scalar_type() == v.scalar_type(),
              "attention got q, k and v of different types");
}

}  // namespace

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::span<const std::int64_t> lengths, double scale) {
  require_that_fits(q, k, v, lengths);
  if (lengths.empty()) return at::empty_like(q);
  return PackedAttention::apply(q, k, v, std::vector<std::int64_t>{lengths.begin(), lengths.end()},
                                scale);
}

}  // namespace hone::detail

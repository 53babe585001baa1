// Attention over packed sequences as one function of autograd, against one sequence after the
// other.
#include "model/packed_attention.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "hone/core/model/attention.hpp"
#include "support/scattered.hpp"

namespace hone {
namespace {

using testing::scattered;

/// Beside short ones, two that take the flash kernel.
const std::vector<std::int64_t> kLengths{5, 600, 1, 40, 513};
constexpr std::int64_t kLongestShort = 40;
constexpr std::int64_t kDim = 8;
constexpr double kScale = 0.3;

at::Tensor mask(std::int64_t length) {
  return at::full({1, length, length}, -std::numeric_limits<double>::infinity(), at::kDouble).triu_(1);
}

at::Tensor one_by_one(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  std::vector<at::Tensor> outputs;
  std::int64_t begin = 0;
  for (const auto length : kLengths) {
    const auto of = [&](const at::Tensor& x) { return x.narrow(0, begin, length); };
    outputs.push_back(attend_by_products(of(q), of(k), of(v), kScale, mask(length)));
    begin += length;
  }
  return at::cat(outputs);
}

at::Tensor packed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return detail::packed_attention(q, k, v, kLengths, mask(kLongestShort).to(q.scalar_type()), kScale);
}

/// The output and the gradients of what q, k and v are views of.
template <typename Attend>
std::vector<at::Tensor> results_of(std::int64_t heads, std::int64_t kv_heads, at::ScalarType dtype,
                                   Attend attend) {
  const auto tokens = 5 + 600 + 1 + 40 + 513;
  const auto all = heads + 2 * kv_heads;
  const auto joint = scattered({tokens, all, kDim}, 1.0).to(dtype).requires_grad_(true);
  const auto parts = joint.split_with_sizes({heads, kv_heads, kv_heads}, 1);
  const auto out = attend(parts[0], parts[1], parts[2]);
  (out * scattered(out.sizes(), 2.0).to(dtype)).sum().backward();
  return {out.detach().to(at::kDouble), joint.grad().to(at::kDouble)};
}

TEST(PackedAttention, IsThatOfEachSequence) {
  for (const auto& [heads, kv_heads] : {std::pair{3, 3}, {4, 2}, {4, 1}}) {
    const auto expected = results_of(heads, kv_heads, at::kDouble, one_by_one);
    for (const auto& [dtype, tolerance] :
         {std::pair{at::kDouble, 1e-11}, {at::kFloat, 1e-5}, {at::kBFloat16, 3e-2}}) {
      const auto got = results_of(heads, kv_heads, dtype, packed);
      for (std::size_t i = 0; i < got.size(); ++i) {
        const double worst = (got[i] - expected[i]).abs().max().item<double>();
        EXPECT_LT(worst, tolerance * expected[i].abs().max().item<double>())
            << dtype << ' ' << heads << ' ' << kv_heads << (i == 0 ? " output" : " gradient");
      }
    }
  }
}

}  // namespace
}  // namespace hone

// Attention over packed sequences against products of one sequence after the other.
#include "hone/core/model/attention.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <limits>
#include <numeric>
#include <tuple>
#include <vector>

#include "support/scattered.hpp"

namespace hone {
namespace {

using testing::scattered;

/// Of one block of queries and less, of several, and of more keys than one span of the kernels has.
const std::vector<std::int64_t> kLengths{5, 600, 1, 40, 1250, 96};
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
  return SegmentedCausalAttention{kLengths}.attend(0, q, k, v, {.scale = kScale});
}

/// The output and the gradients of what q, k and v are views of.
template <typename Attend>
std::vector<at::Tensor> results_of(std::int64_t heads, std::int64_t kv_heads, std::int64_t dim,
                                   at::ScalarType dtype, Attend attend) {
  const auto tokens = std::reduce(kLengths.begin(), kLengths.end());
  const auto all = heads + 2 * kv_heads;
  const auto joint = scattered({tokens, all, dim}, 1.0).to(dtype).requires_grad_(true);
  const auto parts = joint.split_with_sizes({heads, kv_heads, kv_heads}, 1);
  const auto out = attend(parts[0], parts[1], parts[2]);
  (out * scattered(out.sizes(), 2.0).to(dtype)).sum().backward();
  return {out.detach().to(at::kDouble), joint.grad().to(at::kDouble)};
}

TEST(PackedAttention, IsThatOfEachSequence) {
  for (const auto& [heads, kv_heads, dim] : {std::tuple{3, 3, 8}, {4, 2, 20}, {4, 1, 80}}) {
    const auto expected = results_of(heads, kv_heads, dim, at::kDouble, one_by_one);
    for (const auto& [dtype, tolerance] :
         {std::pair{at::kDouble, 1e-11}, {at::kFloat, 1e-5}, {at::kBFloat16, 3e-2}}) {
      const auto got = results_of(heads, kv_heads, dim, dtype, packed);
      for (std::size_t i = 0; i < got.size(); ++i) {
        const double worst = (got[i] - expected[i]).abs().max().item<double>();
        EXPECT_LT(worst, tolerance * expected[i].abs().max().item<double>())
            << dtype << ' ' << heads << ' ' << kv_heads << (i == 0 ? " output" : " gradient");
      }
    }
  }
}

TEST(PackedAttention, TakesHeadsThatLieApart) {
  const auto tokens = std::reduce(kLengths.begin(), kLengths.end());
  const auto apart = [&](double salt) { return scattered({3, tokens, 8}, salt).to(at::kFloat).transpose(0, 1); };
  const auto q = apart(1.0), k = apart(2.0), v = apart(3.0);
  EXPECT_TRUE(at::equal(packed(q, k, v), packed(q.contiguous(), k.contiguous(), v.contiguous())));
}

TEST(PackedAttention, IsTheSameOnAnyNumberOfThreads) {
  const auto given = at::get_num_threads();
  const auto on = [&](int threads) {
    at::set_num_threads(threads);
    return results_of(4, 2, 20, at::kFloat, packed);
  };
  const auto expected = on(1), got = on(3);
  at::set_num_threads(given);
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::equal(got[i], expected[i])) << i;
}

TEST(PackedAttention, RefusesWhatDoesNotFit) {
  const auto of = [](at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
    return scattered(shape, 1.0).to(dtype);
  };
  const auto attend = [](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    return SegmentedCausalAttention{{5, 6}}.attend(0, q, k, v, {.scale = kScale});
  };
  const auto q = of({11, 4, 8}), k = of({11, 2, 8});
  EXPECT_NO_THROW(attend(q, k, k));
  EXPECT_THROW(attend(of({10, 4, 8}), of({10, 2, 8}), of({10, 2, 8})), c10::Error) << "other lengths";
  EXPECT_THROW(attend(q, of({11, 3, 8}), of({11, 3, 8})), c10::Error) << "heads that cannot be shared";
  EXPECT_THROW(attend(q, k, of({11, 2, 4})), c10::Error) << "values of another width";
  EXPECT_THROW(attend(q, of({11, 2, 8}, at::kBFloat16), k), c10::Error) << "another type";
  EXPECT_EQ(SegmentedCausalAttention{{}}.attend(0, of({0, 4, 8}), of({0, 2, 8}), of({0, 2, 8}), {}).size(0), 0);
}

}  // namespace
}  // namespace hone

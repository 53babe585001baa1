// Against float64: products of bfloat16 by float32 ones, as on processors without AVX-512, and those
// whose sums are long.
#include "model/products.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <cmath>

#include "hone/core/model/layers.hpp"
#include "support/scattered.hpp"

namespace hone::detail {
namespace {

using testing::scattered;

struct Shape {
  const char* name;
  std::int64_t rows, inner, columns;
};

/// Within half a unit in the last place of bfloat16, but for float32's own error.
void expect_rounded_once(const at::Tensor& out, const at::Tensor& exact) {
  EXPECT_EQ(out.scalar_type(), at::kBFloat16);
  const auto half_a_unit = exact.abs() * std::ldexp(1.0, -8);
  const auto excess = (out.to(at::kDouble) - exact).abs() - half_a_unit;
  EXPECT_LE(excess.max().item<double>(), 1e-6 * exact.abs().max().item<double>());
}

/// Of more numbers than are widened at once in the one or the other direction, or in none.
class WidenedProducts : public ::testing::TestWithParam<Shape> {
 protected:
  at::Tensor a_ = scattered({GetParam().rows, GetParam().inner}, 1.0).to(at::kBFloat16);
  at::Tensor b_ = scattered({GetParam().columns, GetParam().inner}, 2.0).to(at::kBFloat16).t();
  at::Tensor exact_ = at::mm(a_.to(at::kDouble), b_.to(at::kDouble));
  double size_ = exact_.abs().max().item<double>();
};

TEST_P(WidenedProducts, AreRoundedOnce) {
  expect_rounded_once(widened_product(a_, b_), exact_);
}

TEST_P(WidenedProducts, AndSoAreTheirSumsWithABias) {
  const auto bias = scattered({GetParam().columns}, 3.0).to(at::kBFloat16);
  expect_rounded_once(widened_product(a_, b_, bias), exact_ + bias.to(at::kDouble));
}

TEST_P(WidenedProducts, AreAddedUnrounded) {
  const auto sum = at::ones(exact_.sizes(), at::kFloat);
  add_widened_product(sum, a_, b_);
  EXPECT_LT((sum.to(at::kDouble) - 1.0 - exact_).abs().max().item<double>(), 1e-5 * size_);
}

INSTANTIATE_TEST_SUITE_P(Shapes, WidenedProducts,
                         ::testing::Values(Shape{"small", 5, 7, 3}, Shape{"one", 1, 1, 1},
                                           Shape{"wide", 3, 300, 20000},
                                           Shape{"deep", 5, 20000, 300},
                                           Shape{"tall", 20000, 300, 5}),
                         [](const auto& info) { return std::string{info.param.name}; });

/// As the output layer's, which sums over its vocabulary for each labelled position.
TEST(LongProducts, AreAsExactOfFewRowsAsOfMany) {
  constexpr std::int64_t kInner = 49152, kColumns = 64;
  const auto b = (scattered({kInner, kColumns}, 1.0) + 0.5).to(at::kFloat);
  for (const std::int64_t rows : {1, 2, 3, 4, 6, 16, 17, 64}) {
    const auto a = scattered({rows, kInner}, 2.0).abs().to(at::kFloat);
    auto out = at::full({rows, kColumns}, 7.0, at::kFloat);
    product_into(out, a, b);
    const auto exact = at::mm(a.to(at::kDouble), b.to(at::kDouble));
    const auto error = ((out.to(at::kDouble) - exact) / exact).abs().max().item<double>();
    EXPECT_LT(error, 2e-6) << rows << " rows";
  }
}

TEST(WidenedGradients, AreRoundedOnceOfMatricesAndOfBatches) {
  struct Case {
    std::vector<std::int64_t> a, b, bias;
  };
  // The last batch has more numbers than are widened at once.
  for (const auto& [a_sizes, b_sizes, bias_size] :
       {Case{{4, 6}, {6, 5}, {}}, Case{{4, 6}, {6, 5}, {5}}, Case{{3, 4, 6}, {3, 6, 5}, {}},
        Case{{5, 1024, 16}, {5, 16, 1024}, {}}}) {
    const auto leaf = [](at::IntArrayRef sizes, double phase) {
      return scattered(sizes, phase).to(at::kBFloat16).requires_grad_(true);
    };
    const auto a = leaf(a_sizes, 1.0), b = leaf(b_sizes, 2.0);
    const auto bias = bias_size.empty() ? at::Tensor{} : leaf(bias_size, 3.0);
    const auto out = widened_product(a, b, bias);
    const auto gradient = scattered(out.sizes(), 4.0).to(at::kBFloat16);
    out.backward(gradient);
    const auto wide = gradient.to(at::kDouble);
    const auto exact = [](const at::Tensor& x) { return x.detach().to(at::kDouble); };
    auto sum = at::matmul(exact(a), exact(b));
    if (bias.defined()) sum = sum + exact(bias);
    expect_rounded_once(out.detach(), sum);
    expect_rounded_once(a.grad(), at::matmul(wide, exact(b).transpose(-2, -1)));
    expect_rounded_once(b.grad(), at::matmul(exact(a).transpose(-2, -1), wide));
    if (bias.defined()) expect_rounded_once(bias.grad(), wide.sum(0));
  }
}

TEST(WidenedGradients, AreMadeOfWhatIsTrainedAlone) {
  const auto a = scattered({4, 6}, 1.0).to(at::kBFloat16).requires_grad_(true);
  const auto b = scattered({6, 5}, 2.0).to(at::kBFloat16);
  widened_product(a, b).sum().backward();
  EXPECT_TRUE(a.grad().defined());
  EXPECT_FALSE(b.grad().defined());
}

TEST(Products, OfAnyTypeHaveTheirGradients) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    auto a = scattered({4, 6}, 1.0).to(dtype), b = scattered({6, 5}, 2.0).to(dtype);
    auto bias = scattered({5}, 3.0).to(dtype);
    for (auto* leaf : {&a, &b, &bias}) leaf->requires_grad_(true);
    const auto out = product(a, b, bias);
    EXPECT_EQ(out.scalar_type(), dtype);
    out.sum().backward();
    const auto ones = at::ones({4, 5}, dtype);
    EXPECT_TRUE(a.grad().allclose(at::mm(ones, b.detach().t()), 2e-2, 2e-2));
    EXPECT_TRUE(b.grad().allclose(at::mm(a.detach().t(), ones), 2e-2, 2e-2));
    EXPECT_TRUE(bias.grad().allclose(ones.sum(0), 2e-2, 2e-2));
  }
}

}  // namespace
}  // namespace hone::detail

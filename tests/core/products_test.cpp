// Products of bfloat16 by float32 ones, as on processors without AVX-512: against float64.
#include "model/products.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
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

/// Of more numbers than are widened at once in the one or the other direction, or in none.
class WidenedProducts : public ::testing::TestWithParam<Shape> {
 protected:
  at::Tensor a_ = scattered({GetParam().rows, GetParam().inner}, 1.0).to(at::kBFloat16);
  at::Tensor b_ = scattered({GetParam().columns, GetParam().inner}, 2.0).to(at::kBFloat16).t();
  at::Tensor exact_ = at::mm(a_.to(at::kDouble), b_.to(at::kDouble));
  double size_ = exact_.abs().max().item<double>();
};

TEST_P(WidenedProducts, AreRoundedOnce) {
  auto out = at::empty(exact_.sizes(), a_.options());
  widened_product_into(out, a_, b_);
  const auto half_a_unit = exact_.abs() * std::ldexp(1.0, -8);
  EXPECT_LE(((out.to(at::kDouble) - exact_).abs() - half_a_unit).max().item<double>(), 1e-6 * size_);
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

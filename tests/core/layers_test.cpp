// The parts that models are made of, against their definitions.
#include "hone/core/model/layers.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>

namespace hone {
namespace {

constexpr double kEps = 1e-5;

/// Numbers in [-1, 1] without a pattern, the same each time.
at::Tensor scattered(at::IntArrayRef shape, double salt = 0.0) {
  const auto count = c10::multiply_integers(shape);
  const auto places = at::arange(count, at::kDouble) * 12.9898 + salt;
  return (places.sin() * 43758.5453).sin().view(shape);
}

at::Tensor trainable(at::Tensor weight) {
  weight.requires_grad_(true);
  weight.mutable_grad() = at::zeros_like(weight);
  return weight;
}

/// Autograd's own gradient of the same weighted sum of looked-up rows.
at::Tensor reference_gradient(const at::Tensor& weight, const at::Tensor& ids,
                              const at::Tensor& factors) {
  const auto leaf = weight.detach().clone().requires_grad_(true);
  (at::index_select(leaf, 0, ids) * factors).sum().backward();
  return leaf.grad();
}

TEST(Embedding, AddsTheGradientsOfAllPlacesOfAWord) {
  const auto weight = trainable(scattered({6, 4}));
  const auto ids = at::tensor({5, 2, 5, 5, 0}, at::kLong);
  const auto factors = scattered({5, 4}, 1.0);
  const auto rows = look_up(weight, ids, std::nullopt);
  EXPECT_TRUE(rows.equal(at::index_select(weight, 0, ids)));
  const auto expected = reference_gradient(weight, ids, factors);
  const auto* storage = weight.grad().const_data_ptr();
  (rows * factors).sum().backward();
  EXPECT_TRUE(weight.grad().allclose(expected, 1e-12, 1e-12));
  EXPECT_EQ(weight.grad().const_data_ptr(), storage) << "the gradient view was replaced";
  (look_up(weight, ids, std::nullopt) * factors).sum().backward();
  EXPECT_TRUE(weight.grad().allclose(2 * expected, 1e-12, 1e-12));
}

TEST(Embedding, ThePaddingWordGetsNoGradient) {
  const auto weight = trainable(scattered({6, 4}));
  const auto ids = at::tensor({5, 2, 5}, at::kLong);
  const auto factors = scattered({3, 4}, 1.0);
  auto expected = reference_gradient(weight, ids, factors);
  expected[5].zero_();
  // Qualified: for a plain number ATen's own embedding would be the better match.
  (look_up(weight, ids, 5) * factors).sum().backward();
  EXPECT_TRUE(weight.grad().allclose(expected, 1e-12, 1e-12));
}

TEST(RmsNorm, IsItsDefinition) {
  const auto x = scattered({3, 8}), weight = scattered({8}, 1.0);
  const auto expected = x / (x.square().mean(1, true) + kEps).sqrt() * weight;
  EXPECT_TRUE(rms_norm(x, weight, kEps).allclose(expected, 1e-12, 1e-12));
}

TEST(RmsNorm, IsComputedInFloat32ForNarrowTypes) {
  const auto x = (scattered({3, 8}) * 600).to(at::kHalf);  // squares beyond the range of half
  const auto weight = scattered({8}, 1.0).to(at::kHalf);
  const auto wide = x.to(at::kDouble);
  const auto expected = wide / (wide.square().mean(1, true) + kEps).sqrt() * weight;
  const auto got = rms_norm(x, weight, kEps);
  EXPECT_EQ(got.scalar_type(), at::kHalf);
  EXPECT_TRUE(got.to(at::kDouble).allclose(expected, 2e-3, 1e-4));
}

TEST(Rotate, TurnsPairsOfHalvesByTheirAngles) {
  const auto x = scattered({5, 2, 4});
  const auto frequencies = at::tensor({1.0, 0.01}, at::kDouble);
  const auto turned = rotate(x, rotary_table(at::arange(5, at::kLong), frequencies, at::kDouble));
  for (std::int64_t position = 0; position < 5; ++position) {
    for (std::int64_t pair = 0; pair < 2; ++pair) {
      const double angle = static_cast<double>(position) * (pair == 0 ? 1.0 : 0.01);
      const auto a = x[position].select(1, pair), b = x[position].select(1, pair + 2);
      const auto got_a = turned[position].select(1, pair);
      const auto got_b = turned[position].select(1, pair + 2);
      EXPECT_TRUE(got_a.allclose(a * std::cos(angle) - b * std::sin(angle), 1e-12, 1e-12));
      EXPECT_TRUE(got_b.allclose(b * std::cos(angle) + a * std::sin(angle), 1e-12, 1e-12));
    }
  }
}

}  // namespace
}  // namespace hone

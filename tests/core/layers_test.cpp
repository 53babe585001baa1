// The parts that models are made of, against their definitions.
#include "hone/core/model/layers.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "support/scattered.hpp"

namespace hone {
namespace {

using testing::scattered;

constexpr double kEps = 1e-5;

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

/// What a function and its gradients make of numbers in one type.
struct Results {
  at::Tensor value;
  std::vector<at::Tensor> gradients;
};

using LayerFunction = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

Results results_of(const LayerFunction& function, const std::vector<at::Tensor>& inputs,
                   at::ScalarType dtype) {
  std::vector<at::Tensor> leaves;
  for (const auto& input : inputs) {
    leaves.push_back(input.to(dtype).detach().clone().requires_grad_(true));
  }
  Results results{.value = function(leaves), .gradients = {}};
  (results.value * scattered(results.value.sizes(), 7.0).to(dtype)).sum().backward();
  for (const auto& leaf : leaves) results.gradients.push_back(leaf.grad());
  return results;
}

/// The loops of our own, in float32 and bfloat16, against the operators that define them, in
/// float64.
void expect_as_in_float64(const LayerFunction& function, const std::vector<at::Tensor>& inputs) {
  for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 2e-6}, {at::kBFloat16, 2e-2}}) {
    std::vector<at::Tensor> narrow;
    for (const auto& input : inputs) narrow.push_back(input.to(dtype));
    const auto got = results_of(function, narrow, dtype);
    const auto expected = results_of(function, narrow, at::kDouble);
    EXPECT_EQ(got.value.scalar_type(), dtype);
    EXPECT_TRUE(got.value.to(at::kDouble).allclose(expected.value, tolerance, tolerance)) << dtype;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const auto scale = expected.gradients[i].abs().max().item<double>();
      EXPECT_TRUE(got.gradients[i].to(at::kDouble).allclose(expected.gradients[i], tolerance,
                                                            tolerance * scale))
          << dtype << ", input " << i;
    }
  }
}

/// Several threads, also where tests run with one.
class RowKernels : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(3); }
  void TearDown() override { at::set_num_threads(given_); }

 private:
  int given_ = at::get_num_threads();
};
using Linear = RowKernels;

/// Rows that are no multiple of a vector, and so many that threads share them.
constexpr std::int64_t kRows = 700, kWidth = 83;

TEST_F(RowKernels, RmsNormIsThatOfFloat64) {
  expect_as_in_float64([](const auto& in) { return rms_norm(in[0], in[1], kEps); },
                       {scattered({kRows, kWidth}), scattered({kWidth}, 1.0)});
}

TEST_F(RowKernels, SwigluIsThatOfFloat64) {
  expect_as_in_float64([](const auto& in) { return swiglu(in[0], in[1]); },
                       {scattered({kRows, kWidth}) * 20, scattered({kRows, kWidth}, 1.0)});
}

TEST_F(RowKernels, RotationIsThatOfFloat64) {
  const auto frequencies = scattered({13}, 2.0).abs();
  const auto positions = at::arange(kRows, at::kLong).remainder(7);  // which float32 turns exactly enough
  expect_as_in_float64(
      [&](const auto& in) {
        return rotate(in[0], rotary_table(positions, frequencies, in[0].scalar_type()));
      },
      {scattered({kRows, 3, 26})});
}

TEST_F(RowKernels, KeepWhatIsNotANumber) {
  const auto odd = at::tensor({NAN, INFINITY, 90.0F, -90.0F, 0.0F}).view({1, 5});
  const auto gated = swiglu(odd, at::ones_like(odd));
  EXPECT_TRUE(std::isnan(gated[0][0].item<float>()));
  EXPECT_EQ(gated[0][1].item<float>(), INFINITY);
  EXPECT_EQ(gated[0][2].item<float>(), 90.0F);
  EXPECT_NEAR(gated[0][3].item<float>(), 0.0, 1e-30);
  EXPECT_TRUE(at::isnan(rms_norm(odd, at::ones({5}), kEps)).all().item<bool>());
}

/// Few rows have loops of their own while texts are generated.
TEST_F(Linear, IsTheSameProductInInferenceMode) {
  for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 1e-5}, {at::kBFloat16, 2e-2}}) {
    const auto weight = scattered({515, 130}).to(dtype), bias = scattered({515}, 1.0).to(dtype);
    for (const std::int64_t rows : {1, 6, 64, 65}) {
      // Every second column of a wider one: not contiguous.
      const auto x = scattered({rows, 260}, 2.0).to(dtype).view({rows, 130, 2}).select(2, 1);
      const c10::InferenceMode generating;
      const auto expected = at::mm(x.to(at::kDouble), weight.to(at::kDouble).t());
      EXPECT_TRUE(linear_out_in(x, weight).to(at::kDouble).allclose(expected, tolerance, tolerance));
      EXPECT_TRUE(linear_out_in(x, weight, bias)
                      .to(at::kDouble)
                      .allclose(expected + bias.to(at::kDouble), tolerance, tolerance));
      // Beside another one, whose outputs are no whole number of tiles either.
      const LinearLayer narrow{scattered({3, 130}, 3.0).to(dtype), {}};
      const auto both = linears_out_in(x, std::vector{LinearLayer{weight, bias}, narrow});
      EXPECT_TRUE(at::equal(both[0], linear_out_in(x, weight, bias)));
      EXPECT_TRUE(at::equal(both[1], linear_out_in(x, narrow.weight)));
    }
  }
}

TEST_F(Linear, AddsItsWeightsGradientWhereItBelongs) {
  const auto x = scattered({5, 4}), factors = scattered({5, 3}, 1.0);
  for (const bool outputs_first : {true, false}) {
    const auto weight = trainable(scattered({3, 4}, 2.0).view(outputs_first ? at::IntArrayRef{3, 4}
                                                                            : at::IntArrayRef{4, 3}));
    const auto bias = trainable(scattered({3}, 3.0));
    const auto leaf = x.clone().requires_grad_(true);
    const auto* storage = weight.grad().const_data_ptr();
    const auto y =
        outputs_first ? linear_out_in(leaf, weight, bias) : linear_in_out(leaf, weight, bias);
    const auto matrix = outputs_first ? weight.t() : weight;
    EXPECT_TRUE(y.allclose(at::mm(x, matrix) + bias, 1e-12, 1e-12));
    (y * factors).sum().backward();
    const auto expected = at::mm(x.t(), factors);
    EXPECT_TRUE(weight.grad().allclose(outputs_first ? expected.t() : expected, 1e-12, 1e-12));
    EXPECT_TRUE(bias.grad().allclose(factors.sum(0), 1e-12, 1e-12));
    EXPECT_TRUE(leaf.grad().allclose(at::mm(factors, matrix.t()), 1e-12, 1e-12));
    EXPECT_EQ(weight.grad().const_data_ptr(), storage) << "the gradient view was replaced";
  }
}

}  // namespace
}  // namespace hone

// Parameters and gradients as views of flat buffers, and the optimizer that works on these.
#include "hone/core/model/parameter_store.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>

#include "hone/core/training/optimizer.hpp"

namespace hone {
namespace {

// Sizes that are no multiple of the alignment, decayed and not in turn.
const std::vector<ParameterSpec> kSpecs{{"a.weight", {3, 5}, true},
                                        {"a.bias", {5}, false},
                                        {"b.weight", {7, 3}, true},
                                        {"b.bias", {1}, false}};

ParameterStore make_store(at::ScalarType dtype = at::kFloat) {
  return {kSpecs, at::TensorOptions{dtype}};
}

TEST(ParameterStore, KeepsNamesShapesAndGroups) {
  const auto store = make_store();
  ASSERT_EQ(store.all().size(), 4U);
  for (std::size_t i = 0; i < kSpecs.size(); ++i) {
    EXPECT_EQ(store.all()[i].name, kSpecs[i].name);
    EXPECT_EQ(store.all()[i].value.sizes().vec(), kSpecs[i].shape);
    EXPECT_EQ(store.groups()[store.group_of(i)].decayed, kSpecs[i].decayed);
    EXPECT_TRUE(store.at(kSpecs[i].name).is_same(store.all()[i].value));
  }
  EXPECT_EQ(store.num_elements(), 15 + 5 + 21 + 1);
  EXPECT_THROW(store.at("c"), std::out_of_range);
}

TEST(ParameterStore, EveryViewIsAligned) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    auto store = make_store(dtype);
    store.enable_training();
    for (const auto& parameter : store.all()) {
      for (const auto& tensor : {parameter.value, parameter.value.grad()}) {
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr()) % 64, 0U);
      }
    }
  }
}

TEST(ParameterStore, ViewsShareTheFlatMemory) {
  auto store = make_store();
  store.groups()[0].values.fill_(2.0);
  EXPECT_EQ(store.at("b.weight").sum().item<float>(), 42.0F);
  EXPECT_EQ(store.at("b.bias").sum().item<float>(), 0.0F);
}

TEST(ParameterStore, BackwardAccumulatesIntoTheFlatGradients) {
  auto store = make_store();
  store.enable_training();
  store.at("a.weight").sum().backward();
  (3 * store.at("a.weight").sum() + store.at("a.bias").sum()).backward();
  EXPECT_EQ(store.groups()[0].gradients.sum().item<float>(), 4 * 15.0F);
  EXPECT_EQ(store.groups()[1].gradients.sum().item<float>(), 5.0F);
  store.zero_gradients();
  EXPECT_EQ(store.at("a.weight").grad().sum().item<float>(), 0.0F);
}

TEST(ParameterStore, StateTakesItsPlaceFromTheParameter) {
  auto store = make_store();
  const auto flat = at::zeros_like(store.groups()[0].values);
  store.view_in(flat, 2).fill_(1.0);
  EXPECT_EQ(flat.sum().item<float>(), 21.0F);
  EXPECT_EQ(store.view_in(flat, 0).sum().item<float>(), 0.0F);
}

/// AdamW by its definition, one element, in float64.
struct ReferenceAdamW {
  double beta1, beta2, epsilon, decay;
  double m = 0.0, v = 0.0;
  int t = 0;

  double step(double value, double gradient, double rate) {
    ++t;
    m = beta1 * m + (1 - beta1) * gradient;
    v = beta2 * v + (1 - beta2) * gradient * gradient;
    const double m_hat = m / (1 - std::pow(beta1, t)), v_hat = v / (1 - std::pow(beta2, t));
    return value * (1 - rate * decay) - rate * m_hat / (std::sqrt(v_hat) + epsilon);
  }
};

TEST(AdamW, FollowsItsDefinitionAndDecaysOneGroupOnly) {
  auto store = make_store(at::kDouble);
  store.enable_training();
  const AdamWOptions options{.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-6, .weight_decay = 0.1};
  AdamW optimizer{store, options};
  for (auto& group : store.groups()) group.values.fill_(0.5);
  ReferenceAdamW decayed{0.8, 0.95, 1e-6, 0.1}, undecayed{0.8, 0.95, 1e-6, 0.0};
  double expected = 0.5, expected_undecayed = 0.5;
  for (const double gradient : {0.3, -0.7, 0.1, 2.0}) {
    for (auto& group : store.groups()) group.gradients.fill_(gradient);
    optimizer.step(0.01);
    expected = decayed.step(expected, gradient, 0.01);
    expected_undecayed = undecayed.step(expected_undecayed, gradient, 0.01);
  }
  EXPECT_EQ(optimizer.num_steps(), 4);
  for (const auto& parameter : store.all()) {
    const auto want = parameter.decayed ? expected : expected_undecayed;
    EXPECT_LT((parameter.value - want).abs().max().item<double>(), 1e-12) << parameter.name;
  }
}

TEST(AdamW, LeavesThePaddingBetweenParametersZero) {
  auto store = make_store();
  store.enable_training();
  AdamW optimizer{store, {.weight_decay = 0.1}};
  for (const auto& parameter : store.all()) parameter.value.mutable_grad().fill_(1.0);
  optimizer.step(0.1);
  for (std::size_t i = 0; i < store.groups().size(); ++i) {
    std::int64_t views = 0;
    for (const auto& parameter : store.all()) {
      if (parameter.decayed == store.groups()[i].decayed) views += parameter.value.numel();
    }
    EXPECT_EQ(store.groups()[i].values.count_nonzero().item<std::int64_t>(), views);
  }
}

}  // namespace
}  // namespace hone

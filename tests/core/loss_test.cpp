// The output layer's loss and gradient against plain cross entropy by autograd.
#include "hone/core/training/loss.hpp"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <utility>

namespace hone {
namespace {

struct HeadCase {
  at::Tensor hidden, weight, targets;

  HeadCase(std::int64_t rows, std::int64_t vocab, std::int64_t width, at::ScalarType dtype) {
    at::manual_seed(7);
    hidden = at::randn({rows, width}, dtype);
    weight = at::randn({vocab, width}, dtype);
    targets = at::randint(vocab, {rows}, at::kLong);
    weight.requires_grad_(true);
    weight.mutable_grad() = at::zeros_like(weight);
  }
};

double distance(const at::Tensor& got, const at::Tensor& expected) {
  return (got - expected).norm().item<double>() / expected.norm().item<double>();
}

/// Sum of the rows' losses with autograd's gradients in hidden and weight.
struct Reference {
  at::Tensor hidden, weight, loss;

  explicit Reference(const HeadCase& head, double scale, double smoothing = 0.0,
                     const at::Tensor& target_weights = {})
      : hidden(head.hidden.detach().clone().requires_grad_(true)),
        weight(head.weight.detach().clone().requires_grad_(true)) {
    auto losses = at::cross_entropy_loss(at::mm(hidden, weight.t()), head.targets, {},
                                         at::Reduction::None, /*ignore_index=*/-100, smoothing);
    if (target_weights.defined()) losses = losses * target_weights;
    loss = losses.sum();
    (loss * scale).backward();
  }
};

/// The same numbers in float64.
HeadCase in_double(HeadCase head) {
  head.hidden = head.hidden.to(at::kDouble);
  head.weight = head.weight.to(at::kDouble);
  return head;
}

void expect_as_autograd(const HeadCase& head, double tolerance) {
  constexpr double kScale = 0.125;
  const Reference reference{head, kScale};
  const auto got = head_loss(head.hidden, head.weight, head.targets,
                             {.with_gradient = true, .scale = kScale});
  EXPECT_NEAR(got.loss_sum.item<double>() / reference.loss.item<double>(), 1.0, tolerance);
  EXPECT_LT(distance(got.hidden_gradient, reference.hidden.grad()), tolerance);
  EXPECT_LT(distance(head.weight.grad(), reference.weight.grad()), tolerance);
}

TEST(HeadLoss, IsCrossEntropy) { expect_as_autograd({9, 37, 16, at::kDouble}, 1e-12); }

TEST(HeadLoss, SmoothsAndWeighs) {
  const HeadCase head{9, 37, 16, at::kDouble};
  const auto weights = at::rand({9}, at::kDouble);
  const Reference reference{head, 0.5, /*smoothing=*/0.3, weights};
  const auto got = head_loss(
      head.hidden, head.weight, head.targets,
      {.with_gradient = true, .scale = 0.5, .label_smoothing = 0.3, .target_weights = weights});
  EXPECT_NEAR(got.loss_sum.item<double>() / reference.loss.item<double>(), 1.0, 1e-12);
  EXPECT_LT(distance(got.hidden_gradient, reference.hidden.grad()), 1e-12);
  EXPECT_LT(distance(head.weight.grad(), reference.weight.grad()), 1e-12);
}

/// By loops of our own, against float64 on the same numbers.
TEST(HeadLoss, IsThatOfFloat64InNarrowTypes) {
  constexpr double kScale = 0.125, kSmoothing = 0.2;
  for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 1e-5}, {at::kBFloat16, 2e-2}}) {
    const HeadCase head{50, 301, 16, dtype};
    const auto wide = in_double(head);
    for (const auto& weights : {at::Tensor{}, at::rand({50}, at::kFloat)}) {
      for (const double smoothing : {0.0, kSmoothing}) {
        head.weight.grad().zero_();
        const Reference reference{wide, kScale, smoothing, weights};
        const auto got = head_loss(head.hidden, head.weight, head.targets,
                                   {.with_gradient = true,
                                    .scale = kScale,
                                    .label_smoothing = smoothing,
                                    .target_weights = weights});
        const auto loss = reference.loss.item<double>();
        EXPECT_NEAR(got.loss_sum.item<double>() / loss, 1.0, tolerance);
        EXPECT_LT(distance(got.hidden_gradient, reference.hidden.grad()), tolerance);
        EXPECT_LT(distance(head.weight.grad(), reference.weight.grad()), tolerance);
        const auto alone = head_loss(head.hidden, head.weight, head.targets,
                                     {.label_smoothing = smoothing, .target_weights = weights});
        EXPECT_EQ(alone.loss_sum.item<double>(), got.loss_sum.item<double>());
      }
    }
  }
}

TEST(HeadLoss, ChunksAddUp) {
  // So many words that the rows take two chunks, the last of them not full.
  const HeadCase head{20, std::int64_t{1} << 21, 2, at::kFloat};
  const Reference reference{in_double(head), 1.0};
  const auto got = head_loss(head.hidden, head.weight, head.targets, {.with_gradient = true});
  EXPECT_NEAR(got.loss_sum.item<double>() / reference.loss.item<double>(), 1.0, 1e-8);
  EXPECT_LT(distance(head.weight.grad(), reference.weight.grad()), 1e-5);
  // LibTorch's own float32 sum over two million words.
  EXPECT_LT(distance(got.hidden_gradient, reference.hidden.grad()), 5e-3);
}

TEST(HeadLoss, AddsToTheGradientThatIsThere) {
  HeadCase head{9, 37, 16, at::kDouble};
  head_loss(head.hidden, head.weight, head.targets, {.with_gradient = true});
  const auto once = head.weight.grad().clone();
  head_loss(head.hidden, head.weight, head.targets, {.with_gradient = true});
  EXPECT_LT(distance(head.weight.grad(), 2 * once), 1e-12);
}

TEST(HeadLoss, WithoutGradientTouchesNone) {
  HeadCase head{9, 37, 16, at::kDouble};
  const auto got = head_loss(head.hidden, head.weight, head.targets, {});
  EXPECT_FALSE(got.hidden_gradient.defined());
  EXPECT_EQ(head.weight.grad().norm().item<double>(), 0.0);
  EXPECT_NEAR(got.loss_sum.item<double>(), Reference(head, 1.0).loss.item<double>(), 1e-10);
}

TEST(HeadLoss, OfNoRowsIsZero) {
  HeadCase head{0, 37, 16, at::kDouble};
  EXPECT_EQ(head_loss(head.hidden, head.weight, head.targets, {.with_gradient = true}).loss_sum.item<double>(),
            0.0);
}

}  // namespace
}  // namespace hone

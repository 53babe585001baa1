// The norm that clipping goes by, of buffers longer than the blocks it is made of.
#include "training/gradient_norm.hpp"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/scattered.hpp"

namespace hone::testing {
namespace {

constexpr std::int64_t kBlock = 65'536;

class GradientNorm : public ::testing::TestWithParam<std::int64_t> {
 protected:
  GradientNorm() : store_(specs(), at::TensorOptions{at::kFloat}) {
    store_.enable_training();
    const auto gradients = store_.groups()[0].gradients;
    gradients.copy_(scattered({gradients.numel()}).to(at::kFloat));
  }
  static std::vector<ParameterSpec> specs() { return {{"w", {GetParam()}, true}}; }

  ParameterStore store_;
};

TEST_P(GradientNorm, IsThatOfAllInFloat64) {
  const auto slices = store_.whole();
  const auto exact = store_.groups()[0].gradients.to(at::kDouble).norm().item<double>();
  EXPECT_NEAR(detail::norm_of_gradients(store_, slices), exact, 1e-6 * exact);
}

TEST_P(GradientNorm, SeesWhatIsNotFiniteWhereverItIs) {
  for (const std::int64_t place : {std::int64_t{0}, GetParam() / 2, GetParam() - 1}) {
    auto one = store_.groups()[0].gradients[place];
    const auto before = one.item<float>();
    one.fill_(std::numeric_limits<float>::infinity());
    EXPECT_FALSE(std::isfinite(detail::norm_of_gradients(store_, store_.whole()))) << place;
    one.fill_(before);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, GradientNorm,
                         ::testing::Values(16, kBlock, kBlock + 16, 2 * kBlock + 7, 3 * kBlock),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace hone::testing

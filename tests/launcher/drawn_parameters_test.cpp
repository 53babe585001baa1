#include "bench/drawn_parameters.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "fakes/temp_dir.hpp"
#include "hone/core/model/language_model.hpp"

namespace hone::launcher {
namespace {

/// One weight is large enough for three threads; biases end within a block of the random stream.
constexpr auto kConfig = R"({"model_type": "gpt2", "vocab_size": 9001, "n_positions": 8,
                             "n_embd": 6, "n_layer": 1, "n_head": 2})";

class DrawnParameters : public ::testing::Test {
 protected:
  DrawnParameters() { folder_.write("config.json", kConfig); }
  ~DrawnParameters() override { at::set_num_threads(given_); }

  std::unique_ptr<LanguageModel> drawn(int threads, at::ScalarType dtype, bool with_masters) const {
    at::set_num_threads(threads);
    auto model = build_model(folder_.path(), {.dtype = dtype, .with_masters = with_masters});
    draw_parameters(*model);
    return model;
  }

  static at::Tensor values(LanguageModel& model, std::size_t i) {
    return model.parameters().trained(i).detach();
  }

 private:
  testing::TempDir folder_;
  int given_ = at::get_num_threads();
};

TEST_F(DrawnParameters, AreTheSameOnAnyNumberOfThreadsAndInAnyPrecision) {
  const auto alone = drawn(1, at::kFloat, false), together = drawn(3, at::kFloat, false),
             masters = drawn(3, at::kBFloat16, true), narrow = drawn(3, at::kBFloat16, false);
  for (std::size_t i = 0; i < alone->parameters().all().size(); ++i) {
    const auto expected = values(*alone, i);
    EXPECT_TRUE(at::equal(values(*together, i), expected)) << i;
    EXPECT_TRUE(at::equal(values(*masters, i), expected)) << i;
    EXPECT_TRUE(at::equal(values(*narrow, i), expected.to(at::kBFloat16))) << i;
  }
}

TEST_F(DrawnParameters, AreSpreadEvenlyAndDifferFromWeightToWeight) {
  const auto model = drawn(1, at::kFloat, false);
  const auto count = model->parameters().all().size();
  for (std::size_t i = 0; i < count; ++i) {
    const auto numbers = values(*model, i).flatten();
    EXPECT_LE(numbers.abs().max().item<float>(), 0.03F);
    EXPECT_GT(numbers[-1].abs().item<float>(), 0.0F) << "the last of " << numbers.numel();
    if (numbers.numel() < 10'000) continue;
    EXPECT_NEAR(numbers.mean().item<double>(), 0.0, 1e-3);
    EXPECT_NEAR(numbers.std().item<double>(), 0.03 / std::sqrt(3.0), 1e-3);
  }
  for (std::size_t i = 1; i < count; ++i) {
    EXPECT_FALSE(at::equal(values(*model, i).flatten().slice(0, 0, 4),
                           values(*model, i - 1).flatten().slice(0, 0, 4)));
  }
}

}  // namespace
}  // namespace hone::launcher

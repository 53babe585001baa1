// That ranks whose weights differ are named is in trainer_test.cpp; here, what the digest sees.
#include "training/parameter_digest.hpp"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cmath>

#include "hone/core/model/language_model.hpp"
#include "support/fixture_model.hpp"

namespace hone::testing {
namespace {

/// One up or down in the last bit.
void step_word(at::Tensor weight, float towards) {
  weight.fill_(std::nextafter(weight.item<float>(), towards));
}

TEST(ParameterDigest, SeesTwoFlippedBitsThatCancelInASum) {
  const FixtureModel fixture{llama_config(), Fill::Random, /*seed=*/5};
  const auto model = load_model(fixture.folder());
  const auto& parameters = model->parameters();
  const auto before = detail::digests_of(parameters);
  auto norm = parameters.at("model.norm.weight").detach();
  norm.fill_(1.5F);
  const auto filled = detail::digests_of(parameters);
  step_word(norm[3], 2.0F);
  step_word(norm[4], 0.0F);
  const auto changed = detail::digests_of(parameters);
  std::size_t num_different = 0;
  for (std::size_t i = 0; i < changed.size(); ++i) num_different += changed[i] != filled[i] ? 1 : 0;
  EXPECT_EQ(num_different, 1U);
  EXPECT_NE(detail::folded(changed), detail::folded(filled));
  EXPECT_NE(detail::folded(filled), detail::folded(before));
}

}  // namespace
}  // namespace hone::testing

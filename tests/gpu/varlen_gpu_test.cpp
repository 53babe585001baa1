// Attention over packed sequences by a GPU's own kernel, against one sequence after the other in
// float64.
#include <gtest/gtest.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>

#include <limits>
#include <vector>

#include "gpu/gpu_world.hpp"
#include "hone/core/model/attention.hpp"
#include "support/scattered.hpp"

namespace hone::testing {
namespace {

const std::vector<std::int64_t> kLengths{5, 600, 1, 40};
constexpr std::int64_t kTokens = 5 + 600 + 1 + 40, kHeads = 6, kKvHeads = 2, kDim = 64;
constexpr double kScale = 0.125;

at::Tensor one_by_one(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  std::vector<at::Tensor> outputs;
  std::int64_t begin = 0;
  for (const auto length : kLengths) {
    const auto of = [&](const at::Tensor& x) { return x.narrow(0, begin, length); };
    const auto mask =
        at::full({1, length, length}, -std::numeric_limits<double>::infinity(), at::kDouble).triu_(1);
    outputs.push_back(attend_by_products(of(q), of(k), of(v), kScale, mask));
    begin += length;
  }
  return at::cat(outputs);
}

/// The output and the gradient of what queries, keys and values are views of.
template <typename Attend>
std::vector<at::Tensor> results_of(const at::TensorOptions& options, Attend attend) {
  const auto joint = scattered({kTokens, kHeads + 2 * kKvHeads, kDim}, 1.0)
                         .to(at::kBFloat16)  // the same numbers in every type
                         .to(options)
                         .requires_grad_(true);
  const auto parts = joint.split_with_sizes({kHeads, kKvHeads, kKvHeads}, 1);
  const auto out = attend(parts[0], parts[1], parts[2]);
  (out * scattered(out.sizes(), 2.0).to(options)).sum().backward();
  return {out.detach().cpu().to(at::kDouble), joint.grad().cpu().to(at::kDouble)};
}

void expect_that_of_each_sequence(at::ScalarType type, double tolerance) {
  std::string reason;
  const auto device = gpu_or_reason(0, reason);
  if (device == nullptr) GTEST_SKIP() << reason;
  const auto expected = results_of(at::kDouble, one_by_one);
  const auto got = results_of(at::TensorOptions{type}.device(at::kCUDA, 0),
                              [](const auto& q, const auto& k, const auto& v) {
                                SegmentedCausalAttention attention{kLengths};
                                return attention.attend(0, q, k, v, {.scale = kScale});
                              });
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto largest = expected[i].abs().max().item<double>();
    EXPECT_LT((got[i] - expected[i]).abs().max().item<double>(), tolerance * largest) << i;
  }
}

TEST(VarlenAttention, OfBfloat16IsThatOfEachSequence) {
  expect_that_of_each_sequence(at::kBFloat16, 2e-2);
}

TEST(VarlenAttention, OfFloat32IsThatOfEachSequence) {
  expect_that_of_each_sequence(at::kFloat, 1e-5);
}

}  // namespace
}  // namespace hone::testing

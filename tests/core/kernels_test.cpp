// Loops of our own over raw numbers: for every width of vectors that this processor has, against
// formulas in double.
#include "model/kernels/kernels.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/ones.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "model/kernels/decode_functions.hpp"

namespace hone::detail {
namespace {

float load(float stored) { return stored; }
float load(std::uint16_t stored) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(stored) << 16);
}

template <typename T>
T not_a_number() {
  if constexpr (sizeof(T) == 2) {
    return 0x7FC0;
  } else {
    return NAN;
  }
}

template <typename T>
struct Numbers {
  std::vector<T> stored;
  /// Numbers in [-1, 1] without a pattern that T holds exactly.
  Numbers(std::int64_t count, double salt) {
    for (std::int64_t i = 0; i < count; ++i) {
      const double value = std::sin(std::sin(static_cast<double>(i) * 12.9898 + salt) * 43758.5453);
      const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(value)) & 0xFFFF0000U;
      if constexpr (sizeof(T) == 2) {
        stored.push_back(static_cast<T>(bits >> 16));
      } else {
        stored.push_back(static_cast<float>(value));
      }
    }
  }
  const T* data() const { return stored.data(); }
  double operator[](std::int64_t i) const {
    return static_cast<double>(load(stored[static_cast<std::size_t>(i)]));
  }
};

template <typename T>
class KernelsTest : public ::testing::Test {
 protected:
  static constexpr double kTolerance = sizeof(T) == 2 ? 8e-3 : 2e-6;

  static void expect_near(T got, double expected, double scale = 1.0) {
    EXPECT_NEAR(static_cast<double>(load(got)), expected, kTolerance * scale);
  }

  /// Rows of x as product() takes them.
  static std::vector<float> unpacked(const Kernels<T>& kernels, const Numbers<T>& x,
                                     std::int64_t rows, std::int64_t inner) {
    std::vector<float> result(static_cast<std::size_t>(rows * inner));
    for (std::int64_t row = 0; row < rows; ++row) {
      kernels.decode.unpack(x.data() + row * inner, inner, result.data() + row * inner);
    }
    return result;
  }
};

using StoredTypes = ::testing::Types<float, std::uint16_t>;
TYPED_TEST_SUITE(KernelsTest, StoredTypes);

TYPED_TEST(KernelsTest, ProductsAreSumsOfProducts) {
  constexpr std::int64_t kOutputs = 11;
  const Numbers<TypeParam> bias{kOutputs, 2.0};
  for (const auto* kernels : usable_kernels<TypeParam>()) {
    for (const std::int64_t inner : {5, 64, 2 * 64 + 37}) {
      const Numbers<TypeParam> weight{kOutputs * inner, 1.0};
      for (const std::int64_t rows : {1, 2, 3, 4, 6, 9}) {
        const Numbers<TypeParam> x{rows * inner, 3.0};
        const auto multiplied = this->unpacked(*kernels, x, rows, inner);
        for (const bool has_bias : {false, true}) {
          std::vector<TypeParam> out(static_cast<std::size_t>(rows * kOutputs));
          kernels->decode.product(multiplied.data(), rows, weight.data(),
                                  has_bias ? bias.data() : nullptr, inner, kOutputs, out.data(),
                                  kOutputs);
          for (std::int64_t at = 0; at < rows * kOutputs; ++at) {
            const auto row = at / kOutputs, n = at % kOutputs;
            double expected = has_bias ? bias[n] : 0.0;
            for (std::int64_t i = 0; i < inner; ++i) {
              expected += x[row * inner + i] * weight[n * inner + i];
            }
            this->expect_near(out[static_cast<std::size_t>(at)], expected, 10.0);
          }
        }
      }
    }
  }
}

TYPED_TEST(KernelsTest, WhatIsNoNumberStaysNone) {
  constexpr std::int64_t kDim = 40, kLength = 6;
  for (const auto* kernels : usable_kernels<TypeParam>()) {
    Numbers<TypeParam> q{kDim, 1.0}, keys{kLength * kDim, 2.0};
    const Numbers<TypeParam> values{kLength * kDim, 3.0};
    keys.stored[3 * kDim + 1] = not_a_number<TypeParam>();
    std::vector<float> scratch(2 * kDim + kLength);
    std::vector<TypeParam> out(kDim);
    const auto attend = [&](const float* added) {
      kernels->decode.attend(q.data(), keys.data(), values.data(), 1, kLength, kDim, 0.5F, added,
                             kLength, scratch.data(), out.data());
      return std::isnan(load(out[0]));
    };
    EXPECT_TRUE(attend(nullptr)) << "a key";
    keys = Numbers<TypeParam>{kLength * kDim, 2.0};
    EXPECT_FALSE(attend(nullptr));
    const std::vector<float> nothing(kLength, -INFINITY);
    EXPECT_TRUE(attend(nothing.data())) << "nothing to be seen";
    const auto multiplied = this->unpacked(*kernels, q, 1, kDim);
    keys.stored[0] = not_a_number<TypeParam>();
    kernels->decode.product(multiplied.data(), 1, keys.data(), nullptr, kDim, kLength, out.data(),
                            kLength);
    EXPECT_TRUE(std::isnan(load(out[0])));
    EXPECT_FALSE(std::isnan(load(out[1])));
  }
}

TYPED_TEST(KernelsTest, ARowsProductsDoNotDependOnOtherRows) {
  constexpr std::int64_t kInner = 127, kOutputs = 11, kRows = 19;  // tiles, and what is left
  const Numbers<TypeParam> weight{kOutputs * kInner, 1.0}, x{kRows * kInner, 2.0};
  for (const auto* kernels : usable_kernels<TypeParam>()) {
    const auto multiplied = this->unpacked(*kernels, x, kRows, kInner);
    std::vector<TypeParam> together(kRows * kOutputs), alone(kOutputs);
    kernels->decode.product(multiplied.data(), kRows, weight.data(), nullptr, kInner, kOutputs,
                            together.data(), kOutputs);
    for (std::int64_t row = 0; row < kRows; ++row) {
      kernels->decode.product(multiplied.data() + row * kInner, 1, weight.data(), nullptr, kInner,
                              kOutputs, alone.data(), kOutputs);
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + row * kOutputs)) << row;
    }
  }
}

TYPED_TEST(KernelsTest, AttentionIsItsDefinition) {
  constexpr std::int64_t kGroup = 3, kDim = 37, kStride = 60;
  constexpr float kScale = 0.7F;
  const Numbers<TypeParam> q{kGroup * kDim, 1.0}, keys{kStride * kDim, 2.0},
      values{kStride * kDim, 3.0};
  const Numbers<float> added{kGroup * kStride, 4.0};
  for (const auto* kernels : usable_kernels<TypeParam>()) {
    for (const std::int64_t length : {1, 5, 58}) {
      for (const bool has_added : {false, true}) {
        std::vector<float> scratch(static_cast<std::size_t>(kGroup * (2 * kDim + length)));
        std::vector<TypeParam> out(kGroup * kDim);
        kernels->decode.attend(q.data(), keys.data(), values.data(), kGroup, length, kDim, kScale,
                               has_added ? added.data() : nullptr, kStride, scratch.data(),
                               out.data());
        for (std::int64_t g = 0; g < kGroup; ++g) {
          std::vector<double> weights;
          double sum = 0.0;
          for (std::int64_t t = 0; t < length; ++t) {
            double score = has_added ? added[g * kStride + t] : 0.0;
            for (std::int64_t i = 0; i < kDim; ++i) {
              score += static_cast<double>(kScale) * q[g * kDim + i] * keys[t * kDim + i];
            }
            weights.push_back(std::exp(score));
            sum += weights.back();
          }
          for (std::int64_t i = 0; i < kDim; ++i) {
            double expected = 0.0;
            for (std::int64_t t = 0; t < length; ++t) {
              expected += weights[static_cast<std::size_t>(t)] / sum * values[t * kDim + i];
            }
            this->expect_near(out[static_cast<std::size_t>(g * kDim + i)], expected);
          }
        }
      }
    }
  }
}

/// Causal attention of one head and its gradients by their formulas. Shape: all (length, dim).
struct PlainAttention {
  std::vector<double> out, of_q, of_k, of_v;

  template <typename Rows>
  PlainAttention(const Rows& q, const Rows& k, const Rows& v, const Rows& of_out,
                 std::int64_t length, std::int64_t dim, double scale)
      : out(size(length, dim)), of_q(out), of_k(out), of_v(out) {
    const auto dot = [&](const Rows& a, std::int64_t i, const Rows& b, std::int64_t j) {
      double sum = 0.0;
      for (std::int64_t d = 0; d < dim; ++d) sum += a(i, d) * b(j, d);
      return sum;
    };
    const auto add = [&](std::vector<double>& sums, std::int64_t i, double factor, const Rows& rows,
                         std::int64_t j) {
      for (std::int64_t d = 0; d < dim; ++d) {
        sums[static_cast<std::size_t>(i * dim + d)] += factor * rows(j, d);
      }
    };
    for (std::int64_t i = 0; i < length; ++i) {
      std::vector<double> weights;
      double mass = 0.0, mean = 0.0;
      for (std::int64_t j = 0; j <= i; ++j) {
        weights.push_back(std::exp(scale * dot(q, i, k, j)));
        mass += weights.back();
      }
      for (std::int64_t j = 0; j <= i; ++j) {
        auto& weight = weights[static_cast<std::size_t>(j)];
        weight /= mass;
        mean += weight * dot(of_out, i, v, j);
        add(out, i, weight, v, j);
      }
      for (std::int64_t j = 0; j <= i; ++j) {
        const double weight = weights[static_cast<std::size_t>(j)];
        const double of_score = scale * weight * (dot(of_out, i, v, j) - mean);
        add(of_v, j, weight, of_out, i);
        add(of_q, i, of_score, k, j);
        add(of_k, j, of_score, q, i);
      }
    }
  }

  static std::size_t size(std::int64_t length, std::int64_t dim) {
    return static_cast<std::size_t>(length * dim);
  }
};

TYPED_TEST(KernelsTest, CausalAttentionAndItsGradientsAreTheirFormulas) {
  constexpr float kScale = 0.7F;
  constexpr std::int64_t kGroup = 2;
  // Beside odd ones: as many queries as one block has, and more keys than one span.
  for (const auto& [length, dim] : {std::pair<std::int64_t, std::int64_t>{1, 5}, {7, 64}, {48, 37},
                                    {131, 80}, {700, 16}}) {
    // Rows of queries, keys and values lie beside each other, as one product leaves them.
    const auto stride = (kGroup + 2) * dim, keys = kGroup * dim, values = keys + dim;
    const Numbers<TypeParam> inputs{length * stride, 1.0}, of_outs{length * kGroup * dim, 2.0};
    using Rows = std::function<double(std::int64_t, std::int64_t)>;
    const auto part = [&](const Numbers<TypeParam>& of, std::int64_t row, std::int64_t first) -> Rows {
      return [&of, row, first](std::int64_t i, std::int64_t d) { return of[i * row + first + d]; };
    };
    std::vector<PlainAttention> plain;
    for (std::int64_t head = 0; head < kGroup; ++head) {
      plain.emplace_back(part(inputs, stride, head * dim), part(inputs, stride, keys),
                         part(inputs, stride, values), part(of_outs, kGroup * dim, head * dim), length,
                         dim, static_cast<double>(kScale));
    }
    for (const auto* kernels : usable_kernels<TypeParam>()) {
      const auto& attention = kernels->attention;
      const auto size = PlainAttention::size(length, dim);
      std::vector<TypeParam> outs(kGroup * size), of_qs(kGroup * size), of_k(size), of_v(size);
      std::vector<float> normalizers(static_cast<std::size_t>(kGroup * length));
      // What is not written before it is read shows.
      std::vector<float> scratch(static_cast<std::size_t>(attention.scratch(length, dim)), NAN);
      const AttentionTask<TypeParam> task{.q = {inputs.data(), stride},
                                          .k = {inputs.data() + keys, stride},
                                          .v = {inputs.data() + values, stride},
                                          .length = length,
                                          .dim = dim,
                                          .group = kGroup,
                                          .scale = kScale};
      attention.forward(task, scratch.data(), {outs.data(), kGroup * dim}, normalizers.data(),
                        length);
      std::ranges::fill(scratch, NAN);
      attention.backward(task, scratch.data(), normalizers.data(), length,
                         {.out = {outs.data(), kGroup * dim},
                          .of_out = {of_outs.data(), kGroup * dim},
                          .of_q = {of_qs.data(), kGroup * dim},
                          .of_k = {of_k.data(), dim},
                          .of_v = {of_v.data(), dim}});
      for (std::int64_t i = 0; i < length; ++i) {
        for (std::int64_t d = 0; d < dim; ++d) {
          const auto at = static_cast<std::size_t>(i * dim + d);
          for (std::int64_t head = 0; head < kGroup; ++head) {
            const auto& of_head = plain[static_cast<std::size_t>(head)];
            const auto beside = static_cast<std::size_t>((i * kGroup + head) * dim + d);
            this->expect_near(outs[beside], of_head.out[at], 2.0);
            this->expect_near(of_qs[beside], of_head.of_q[at], 4.0);
          }
          this->expect_near(of_k[at], plain[0].of_k[at] + plain[1].of_k[at], 8.0);
          this->expect_near(of_v[at], plain[0].of_v[at] + plain[1].of_v[at], 8.0);
        }
      }
    }
  }
}

TYPED_TEST(KernelsTest, NormsGatesAndRotationsAgreeWithPlainLoops) {
  constexpr std::int64_t kWidth = 83, kHalf = 13, kHeads = 3;
  const Numbers<TypeParam> x{kWidth, 1.0}, y{kWidth, 2.0};
  for (const auto* kernels : usable_kernels<TypeParam>()) {
    std::vector<TypeParam> out(kWidth);
    const float scale = kernels->rows.rms_norm(x.data(), y.data(), 1e-5F, kWidth, out.data());
    double squares = 0.0;
    for (std::int64_t i = 0; i < kWidth; ++i) squares += x[i] * x[i];
    const double exact = 1.0 / std::sqrt(squares / kWidth + 1e-5);
    EXPECT_NEAR(static_cast<double>(scale), exact, 1e-6 * exact);
    for (std::int64_t i = 0; i < kWidth; ++i) {
      this->expect_near(out[static_cast<std::size_t>(i)], x[i] * exact * y[i], 2.0);
    }
    kernels->rows.swiglu(x.data(), y.data(), kWidth, out.data());
    for (std::int64_t i = 0; i < kWidth; ++i) {
      this->expect_near(out[static_cast<std::size_t>(i)], x[i] / (1.0 + std::exp(-x[i])) * y[i]);
    }
    kernels->rows.rotate(x.data(), y.data(), y.data() + kHalf, -1.0F, kHeads, kHalf, out.data());
    for (std::int64_t head = 0; head < kHeads; ++head) {
      for (std::int64_t i = 0; i < kHalf; ++i) {
        const auto low = head * 2 * kHalf + i, high = low + kHalf;
        const double c = y[i], s = -y[kHalf + i];
        this->expect_near(out[static_cast<std::size_t>(low)], x[low] * c - x[high] * s);
        this->expect_near(out[static_cast<std::size_t>(high)], x[high] * c + x[low] * s);
      }
    }
  }
}

TYPED_TEST(KernelsTest, CrossEntropyIsItsDefinition) {
  constexpr std::int64_t kCount = 77, kTarget = 70;
  constexpr double kFactor = 0.5;
  const Numbers<TypeParam> given{kCount, 1.0};
  double mass = 0.0, mean = 0.0;
  for (std::int64_t i = 0; i < kCount; ++i) {
    mass += std::exp(given[i]);
    mean += given[i] / kCount;
  }
  for (const auto* kernels : usable_kernels<TypeParam>()) {
    for (const double smoothing : {0.0, 0.3}) {
      auto logits = given;
      const auto loss = [&](const double* factor) {
        return kernels->rows.cross_entropy(logits.stored.data(), kCount, kTarget, smoothing, factor);
      };
      const double expected =
          std::log(mass) - (1.0 - smoothing) * given[kTarget] - smoothing * mean;
      EXPECT_NEAR(loss(nullptr), expected, 1e-5);
      EXPECT_EQ(logits.stored, given.stored);
      EXPECT_NEAR(loss(&kFactor), expected, 1e-5);
      for (std::int64_t i = 0; i < kCount; ++i) {
        const double wanted = (i == kTarget ? 1.0 - smoothing : 0.0) + smoothing / kCount;
        this->expect_near(logits.stored[static_cast<std::size_t>(i)],
                          kFactor * (std::exp(given[i]) / mass - wanted));
      }
    }
    auto odd = given;
    odd.stored[3] = not_a_number<TypeParam>();
    EXPECT_TRUE(std::isnan(
        kernels->rows.cross_entropy(odd.stored.data(), kCount, kTarget, 0.0, nullptr)));
  }
}

TYPED_TEST(KernelsTest, GradientsAreDifferenceQuotients) {
  constexpr std::int64_t kWidth = 41;
  const Numbers<TypeParam> x{kWidth, 1.0}, y{kWidth, 2.0}, down{kWidth, 3.0};
  const auto norm_of = [&](std::int64_t moved_x, std::int64_t moved_y, double by) {
    double squares = 0.0, sum = 0.0;
    const auto x_at = [&](std::int64_t i) { return x[i] + (i == moved_x ? by : 0.0); };
    for (std::int64_t i = 0; i < kWidth; ++i) squares += x_at(i) * x_at(i);
    for (std::int64_t i = 0; i < kWidth; ++i) {
      sum += down[i] * x_at(i) / std::sqrt(squares / kWidth + 1e-5) *
             (y[i] + (i == moved_y ? by : 0.0));
    }
    return sum;
  };
  const auto gate = [&](double g, double up) { return g / (1.0 + std::exp(-g)) * up; };
  constexpr double kBy = 1e-5;
  for (const auto* kernels : usable_kernels<TypeParam>()) {
    std::vector<TypeParam> out(kWidth), of_x(kWidth), of_y(kWidth);
    const float scale = kernels->rows.rms_norm(x.data(), y.data(), 1e-5F, kWidth, out.data());
    std::vector<float> of_weight(kWidth, 0.0F);
    kernels->rows.rms_norm_backward(x.data(), y.data(), scale, down.data(), kWidth, of_x.data(),
                                    of_weight.data());
    for (std::int64_t i = 0; i < kWidth; ++i) {
      const auto at = static_cast<std::size_t>(i);
      this->expect_near(of_x[at], (norm_of(i, -1, kBy) - norm_of(i, -1, -kBy)) / (2 * kBy), 4.0);
      EXPECT_NEAR(of_weight[at], (norm_of(-1, i, kBy) - norm_of(-1, i, -kBy)) / (2 * kBy), 1e-5);
    }
    kernels->rows.swiglu_backward(x.data(), y.data(), down.data(), kWidth, of_x.data(),
                                  of_y.data());
    for (std::int64_t i = 0; i < kWidth; ++i) {
      const auto at = static_cast<std::size_t>(i);
      this->expect_near(of_x[at], down[i] * (gate(x[i] + kBy, y[i]) - gate(x[i] - kBy, y[i])) /
                                      (2 * kBy), 4.0);
      this->expect_near(of_y[at], down[i] * gate(x[i], 1.0), 2.0);
    }
  }
}

TEST(FewRows, AreTakenInInferenceModeWhereAllFitsTogether) {
  const auto of = [](at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
    return at::ones(shape, dtype);
  };
  EXPECT_FALSE(has_few_rows(of({2, 8}), of({5, 8}), {})) << "outside of it";
  const c10::InferenceMode generating;
  EXPECT_TRUE(has_few_rows(of({2, 8}), of({5, 8}), {}));
  EXPECT_TRUE(has_few_rows(of({2, 8}), of({5, 8}), of({5})));
  EXPECT_TRUE(has_few_rows(of({2, 8}, at::kBFloat16), of({5, 8}, at::kBFloat16), {}));
  EXPECT_FALSE(has_few_rows(of({500, 8}), of({5, 8}), {})) << "too many rows";
  EXPECT_FALSE(has_few_rows(of({2, 8}), of({8, 5}).t(), {})) << "another layout";
  EXPECT_FALSE(has_few_rows(of({2, 8}), of({5, 7}), {})) << "another width";
  EXPECT_FALSE(has_few_rows(of({2, 3, 8}), of({5, 8}), {}));
  EXPECT_FALSE(has_few_rows(of({2, 0}), of({5, 0}), {}));
  EXPECT_FALSE(has_few_rows(of({0, 8}), of({5, 8}), {}));
  EXPECT_FALSE(has_few_rows(of({2, 8}), of({5, 8}), of({1}))) << "a bias to be spread";
  EXPECT_FALSE(has_few_rows(of({2, 8}), of({5, 8}, at::kBFloat16), {}));
  EXPECT_FALSE(has_few_rows(of({2, 8}), of({5, 8}), of({5}, at::kBFloat16)));
  EXPECT_FALSE(has_few_rows(of({2, 8}, at::kDouble), of({5, 8}, at::kDouble), {}));
}

TEST(FewRows, AreSharedByThreads) {
  const auto given = at::get_num_threads();
  at::set_num_threads(3);
  std::atomic<int> parts = 0;
  at::parallel_for(0, 3, 1, [&](std::int64_t, std::int64_t) { ++parts; });
  at::set_num_threads(given);
  EXPECT_EQ(parts, 3) << "at::parallel_for() was compiled without OpenMP";
}

}  // namespace
}  // namespace hone::detail

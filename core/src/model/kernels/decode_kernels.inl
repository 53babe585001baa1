// The loops of DecodeKernels: kDecodeKernels in the namespace HONE_KERNELS.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "model/kernels/decode_kernels.hpp"
#include "model/kernels/numbers.inl"

namespace hone::detail::HONE_KERNELS {
namespace {

/// As many sums as registers hold beside what is multiplied.
constexpr int kTileRows = 4;
constexpr int kTileOutputs = kVectorBytes == 64 ? 4 : 2;

template <typename T>
constexpr std::int64_t kStep = kLanes * Unpacked<T>::kParts;

template <typename T>
void unpack(const T* __restrict x, std::int64_t count, float* __restrict out) {
  constexpr int kParts = Unpacked<T>::kParts;
  const auto whole = count - count % kStep<T>;
  for (std::int64_t i = 0; i < whole; i += kStep<T>) {
    for (int part = 0; part < kParts; ++part) {
      for (int lane = 0; lane < kLanes; ++lane) {
        out[i + part * kLanes + lane] = load(x[i + lane * kParts + part]);
      }
    }
  }
  for (auto i = whole; i < count; ++i) out[i] = load(x[i]);
}

/// A tile of products: each vector of weights is loaded once for all rows.
template <int kRows, int kOutputs, typename T, typename Out>
void product_tile(const float* x, const T* weight, const T* bias, std::int64_t inner, Out* out,
                  std::int64_t out_stride) {
  constexpr int kParts = Unpacked<T>::kParts;
  const auto whole = inner - inner % kStep<T>;
  Floats sums[kRows][kOutputs] = {};
  for (std::int64_t i = 0; i < whole; i += kStep<T>) {
    Floats weights[kOutputs][kParts];
#pragma GCC unroll 4
    for (int n = 0; n < kOutputs; ++n) {
      const Unpacked<T> unpacked{weight + n * inner + i};
      for (int part = 0; part < kParts; ++part) weights[n][part] = unpacked.part[part];
      // The next tile's, while this one is computed: rows are short, and the processor does not guess the next.
      __builtin_prefetch(weight + (n + kOutputs) * inner + i);
    }
#pragma GCC unroll 4
    for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 2
      for (int part = 0; part < kParts; ++part) {
        const Floats values = load_floats(x + row * inner + i + part * kLanes);
#pragma GCC unroll 4
        for (int n = 0; n < kOutputs; ++n) sums[row][n] += values * weights[n][part];
      }
    }
  }
  for (int row = 0; row < kRows; ++row) {
    for (int n = 0; n < kOutputs; ++n) {
      float sum = sum_of(sums[row][n]);
      for (auto i = whole; i < inner; ++i) sum += x[row * inner + i] * load(weight[n * inner + i]);
      if (bias != nullptr) sum += load(bias[n]);
      out[row * out_stride + n] = store<Out>(sum);
    }
  }
}

template <int kOutputs, typename T, typename Out>
void product_of_rows(const float* x, std::int64_t rows, const T* weight, const T* bias,
                     std::int64_t inner, Out* out, std::int64_t out_stride) {
  for (; rows >= kTileRows; rows -= kTileRows) {
    product_tile<kTileRows, kOutputs>(x, weight, bias, inner, out, out_stride);
    x += kTileRows * inner;
    out += kTileRows * out_stride;
  }
  switch (rows) {
    case 3: return product_tile<3, kOutputs>(x, weight, bias, inner, out, out_stride);
    case 2: return product_tile<2, kOutputs>(x, weight, bias, inner, out, out_stride);
    case 1: return product_tile<1, kOutputs>(x, weight, bias, inner, out, out_stride);
    default: return;
  }
}

template <typename T, typename Out>
void product(const float* x, std::int64_t rows, const T* weight, const T* bias, std::int64_t inner,
             std::int64_t outputs, Out* out, std::int64_t out_stride) {
  const auto bias_at = [&](std::int64_t n) { return bias == nullptr ? nullptr : bias + n; };
  std::int64_t n = 0;
  for (; n + kTileOutputs <= outputs; n += kTileOutputs) {
    product_of_rows<kTileOutputs>(x, rows, weight + n * inner, bias_at(n), inner, out + n,
                                  out_stride);
  }
  for (; n < outputs; ++n) {
    product_of_rows<1>(x, rows, weight + n * inner, bias_at(n), inner, out + n, out_stride);
  }
}

/// In place. Where nothing can be seen at all the weights are no numbers, as softmax has it.
void softmax(float* __restrict scores, std::int64_t length) {
  float largest = -std::numeric_limits<float>::infinity();
  for (std::int64_t i = 0; i < length; ++i) largest = std::max(largest, scores[i]);
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < length; ++i) {
    scores[i] = exp_of_negative(scores[i] - largest);
    sum += scores[i];
  }
  const float inverse = 1.0F / sum;
  for (std::int64_t i = 0; i < length; ++i) scores[i] *= inverse;
}

/// sums += weights times values, four values at a time for each time that the sums are read and written.
template <typename T>
void add_weighted(const float* __restrict weights, const T* __restrict values, std::int64_t length,
                  std::int64_t dim, float* __restrict sums) {
  std::int64_t t = 0;
  for (; t + 4 <= length; t += 4) {
    const T* __restrict row = values + t * dim;
    const float a = weights[t], b = weights[t + 1], c = weights[t + 2], d = weights[t + 3];
    for (std::int64_t i = 0; i < dim; ++i) {
      sums[i] += a * load(row[i]) + b * load(row[dim + i]) + c * load(row[2 * dim + i]) +
                 d * load(row[3 * dim + i]);
    }
  }
  for (; t < length; ++t) {
    for (std::int64_t i = 0; i < dim; ++i) sums[i] += weights[t] * load(values[t * dim + i]);
  }
}

template <typename T>
void attend(const T* q, const T* keys, const T* values, std::int64_t group, std::int64_t length,
            std::int64_t dim, float scale, const float* added, std::int64_t added_stride,
            float* scratch, T* out) {
  float* const queries = scratch;
  float* const scores = queries + group * dim;
  float* const sums = scores + group * length;
  for (std::int64_t g = 0; g < group; ++g) unpack(q + g * dim, dim, queries + g * dim);
  for (std::int64_t i = 0; i < group * dim; ++i) queries[i] *= scale;
  product<T, float>(queries, group, keys, nullptr, dim, length, scores, length);
  for (std::int64_t g = 0; g < group; ++g) {
    float* const weights = scores + g * length;
    if (added != nullptr) {
      for (std::int64_t t = 0; t < length; ++t) weights[t] += added[g * added_stride + t];
    }
    softmax(weights, length);
    std::fill_n(sums, dim, 0.0F);
    add_weighted(weights, values, length, dim, sums);
    for (std::int64_t i = 0; i < dim; ++i) out[g * dim + i] = store<T>(sums[i]);
  }
}

template <typename T>
constexpr DecodeKernels<T> kDecodeKernels{
    .unpack = unpack<T>, .product = product<T, T>, .attend = attend<T>};

}  // namespace
}  // namespace hone::detail::HONE_KERNELS

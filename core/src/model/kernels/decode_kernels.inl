// The loops of DecodeKernels: kDecodeKernels in the namespace HONE_KERNELS.
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "model/kernels/decode_kernels.hpp"
#include "model/kernels/numbers.inl"

namespace hone::detail::HONE_KERNELS {
namespace {

/// As many sums as registers hold beside what is multiplied. (Of bfloat16 that becomes two vectors
/// of float not all do, and it is no slower for that.)
constexpr int kTileRows = 4;
constexpr int kTileOutputs = kVectorBytes == 64 ? 4 : 3;
/// Of one row: registers hold more outputs than a tile's, and narrow weights come faster from one
/// place than from four.
template <typename T>
constexpr int kOutputsOfOneRow = sizeof(T) < sizeof(float) ? 1 : 4;
/// Units: bytes, at the least, between what is multiplied and what memory is asked for.
constexpr std::int64_t kAhead = 8192;

/// How a vector of weights as they are stored is multiplied with as many numbers of x as unpack()
/// leaves them.
template <typename T>
struct Step;

template <>
struct Step<float> {
  static constexpr std::int64_t kCount = kLanes;
  using Weights = Floats;
  using Values = Floats;

  static Weights weights(const float* from) { return load_floats(from); }
  static void unpack(const float* from, float* to) { std::memcpy(to, from, kVectorBytes); }
  static Values values(const float* from) { return load_floats(from); }
  static Floats added(Floats sum, Values x, Weights weights) { return sum + x * weights; }
};

#if defined(__AVX512BF16__)
/// The processor multiplies pairs, and x stays as it is.
template <>
struct Step<std::uint16_t> {
  static constexpr std::int64_t kCount = 2 * kLanes;
  using Weights = __m512bh;
  using Values = __m512bh;

  static __m512bh pairs(const void* from) {
    __m512bh vector;
    std::memcpy(&vector, from, sizeof vector);
    return vector;
  }
  static Weights weights(const std::uint16_t* from) { return pairs(from); }
  static void unpack(const std::uint16_t* from, float* to) { std::memcpy(to, from, kVectorBytes); }
  static Values values(const float* from) { return pairs(from); }
  static Floats added(Floats sum, Values x, Weights weights) {
    return _mm512_dpbf16_ps(sum, x, weights);
  }
};
#else
/// The even ones and the odd ones become two vectors of float.
template <>
struct Step<std::uint16_t> {
  static constexpr std::int64_t kCount = 2 * kLanes;
  struct Weights {
    Floats even, odd;
  };
  using Values = Weights;

  static Weights weights(const std::uint16_t* from) {
    Words words;
    std::memcpy(&words, from, sizeof words);
    return {std::bit_cast<Floats>(words << 16), std::bit_cast<Floats>(words & 0xFFFF0000U)};
  }
  static void unpack(const std::uint16_t* from, float* to) {
    const auto [even, odd] = weights(from);
    std::memcpy(to, &even, sizeof even);
    std::memcpy(to + kLanes, &odd, sizeof odd);
  }
  static Values values(const float* from) {
    return {load_floats(from), load_floats(from + kLanes)};
  }
  static Floats added(Floats sum, const Values& x, const Weights& weights) {
    return sum + x.even * weights.even + x.odd * weights.odd;
  }
};
#endif

template <typename T>
std::int64_t whole_steps(std::int64_t count) {
  return count - count % Step<T>::kCount;
}

/// What is left behind whole steps becomes float.
template <typename T>
void unpack(const T* x, std::int64_t count, float* out) {
  const auto whole = whole_steps<T>(count);
  for (std::int64_t i = 0; i < whole; i += Step<T>::kCount) Step<T>::unpack(x + i, out + i);
  for (auto i = whole; i < count; ++i) out[i] = load(x[i]);
}

/// What memory is asked for while a tile is computed, in bytes: from where, and how much each step.
struct Ahead {
  const char* from;
  std::int64_t step;
};

/// A tile of products: each vector of weights is loaded once for all rows, and memory is asked for
/// kAsks vectors with each step.
template <int kRows, int kOutputs, int kAsks, typename T, typename Out>
void product_tile(const float* x, const T* weight, const T* bias, std::int64_t inner, Out* out,
                  std::int64_t out_stride, Ahead ahead) {
  const auto whole = whole_steps<T>(inner);
  Floats sums[kRows][kOutputs] = {};
  for (std::int64_t i = 0; i < whole; i += Step<T>::kCount) {
#pragma GCC unroll 4
    for (int k = 0; k < kAsks; ++k) __builtin_prefetch(ahead.from + k * kVectorBytes);
    ahead.from += ahead.step;
    typename Step<T>::Weights weights[kOutputs];
#pragma GCC unroll 4
    for (int n = 0; n < kOutputs; ++n) weights[n] = Step<T>::weights(weight + n * inner + i);
#pragma GCC unroll 4
    for (int row = 0; row < kRows; ++row) {
      const auto values = Step<T>::values(x + row * inner + i);
#pragma GCC unroll 4
      for (int n = 0; n < kOutputs; ++n) {
        sums[row][n] = Step<T>::added(sums[row][n], values, weights[n]);
      }
    }
  }
  // Unrolled, as all loops over sums above: they would go through memory otherwise.
  static_assert(kTileRows == 4, "as sums_of takes them");
  float results[kOutputs][kRows];
#pragma GCC unroll 4
  for (int n = 0; n < kOutputs; ++n) {
    if constexpr (kRows == kTileRows) {
      sums_of(sums[0][n], sums[1][n], sums[2][n], sums[3][n], results[n]);
    } else {
#pragma GCC unroll 4
      for (int row = 0; row < kRows; ++row) results[n][row] = sum_of(sums[row][n]);
    }
  }
  const auto add_to_each = [&](auto&& value) {
    for (int n = 0; n < kOutputs; ++n) {
      for (int row = 0; row < kRows; ++row) results[n][row] += value(n, row);
    }
  };
  for (auto i = whole; i < inner; ++i) {
    add_to_each([&](int n, int row) { return x[row * inner + i] * load(weight[n * inner + i]); });
  }
  if (bias != nullptr) add_to_each([&](int n, int) { return load(bias[n]); });
#pragma GCC unroll 4
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 4
    for (int n = 0; n < kOutputs; ++n) out[row * out_stride + n] = store<Out>(results[n][row]);
  }
}

/// Memory is asked for in its own order, although the rows of a tile are read side by side: what is
/// asked for line after line comes fastest. The tiles of the same weights share it, so that memory
/// has something to do during all of them; the first of them reads all these weights, so that what
/// is asked for lies behind.
template <int kOutputs, int kAsks, typename T, typename Out>
void product_of_rows(const float* x, std::int64_t rows, const T* weight, const T* bias,
                     std::int64_t inner, Out* out, std::int64_t out_stride) {
  const auto tiles = (rows + kTileRows - 1) / kTileRows;
  const auto read = kOutputs * inner * static_cast<std::int64_t>(sizeof(T));
  const auto distance = tiles > 1 ? std::max(kAhead, read) : kAhead;
  Ahead ahead{.from = reinterpret_cast<const char*>(weight) + distance,
              .step = (kOutputs * kVectorBytes + tiles - 1) / tiles};
  for (; rows >= kTileRows; rows -= kTileRows) {
    product_tile<kTileRows, kOutputs, kAsks>(x, weight, bias, inner, out, out_stride, ahead);
    x += kTileRows * inner;
    out += kTileRows * out_stride;
    ahead.from += ahead.step * (inner / Step<T>::kCount);
  }
  switch (rows) {
    case 3: return product_tile<3, kOutputs, kAsks>(x, weight, bias, inner, out, out_stride, ahead);
    case 2: return product_tile<2, kOutputs, kAsks>(x, weight, bias, inner, out, out_stride, ahead);
    case 1: return product_tile<1, kOutputs, kAsks>(x, weight, bias, inner, out, out_stride, ahead);
    default: return;
  }
}

template <int kOutputs, bool kOneTile, typename T, typename Out>
void product_by(const float* x, std::int64_t rows, const T* weight, const T* bias,
                std::int64_t inner, std::int64_t outputs, Out* out, std::int64_t out_stride) {
  constexpr int kAsks = kOneTile ? kOutputs : (kOutputs + 1) / 2;
  const auto bias_at = [&](std::int64_t n) { return bias == nullptr ? nullptr : bias + n; };
  std::int64_t n = 0;
  for (; n + kOutputs <= outputs; n += kOutputs) {
    product_of_rows<kOutputs, kAsks>(x, rows, weight + n * inner, bias_at(n), inner, out + n,
                                     out_stride);
  }
  for (; n < outputs; ++n) {
    product_of_rows<1, 1>(x, rows, weight + n * inner, bias_at(n), inner, out + n, out_stride);
  }
}

template <typename T, typename Out>
void product(const float* x, std::int64_t rows, const T* weight, const T* bias, std::int64_t inner,
             std::int64_t outputs, Out* out, std::int64_t out_stride) {
  if (rows == 1) {
    product_by<kOutputsOfOneRow<T>, true>(x, rows, weight, bias, inner, outputs, out, out_stride);
  } else if (rows <= kTileRows) {
    product_by<kTileOutputs, true>(x, rows, weight, bias, inner, outputs, out, out_stride);
  } else {
    product_by<kTileOutputs, false>(x, rows, weight, bias, inner, outputs, out, out_stride);
  }
}

/// In place, of scale times scores plus what is added. Where nothing can be seen at all the weights
/// are no numbers, as softmax has it.
void softmax(float* __restrict scores, const float* added, float scale, std::int64_t length) {
  for (std::int64_t i = 0; i < length; ++i) scores[i] *= scale;
  if (added != nullptr) {
    for (std::int64_t i = 0; i < length; ++i) scores[i] += added[i];
  }
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

/// sums += weights times values for each query of a group, four values at a time: so often are they
/// read from far, and so much less often sums are read and written. Shape: weights (group, length),
/// values (length, dim), sums (group, dim).
template <typename T>
void add_weighted(const float* __restrict weights, const T* __restrict values, std::int64_t group,
                  std::int64_t length, std::int64_t dim, float* __restrict sums) {
  std::int64_t t = 0;
  for (; t + 4 <= length; t += 4) {
    const T* __restrict row = values + t * dim;
    for (std::int64_t g = 0; g < group; ++g) {
      const float* of_query = weights + g * length + t;
      const float a = of_query[0], b = of_query[1], c = of_query[2], d = of_query[3];
      float* __restrict sum = sums + g * dim;
      for (std::int64_t i = 0; i < dim; ++i) {
        sum[i] += a * load(row[i]) + b * load(row[dim + i]) + c * load(row[2 * dim + i]) +
                  d * load(row[3 * dim + i]);
      }
    }
  }
  for (; t < length; ++t) {
    for (std::int64_t g = 0; g < group; ++g) {
      for (std::int64_t i = 0; i < dim; ++i) {
        sums[g * dim + i] += weights[g * length + t] * load(values[t * dim + i]);
      }
    }
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
  product<T, float>(queries, group, keys, nullptr, dim, length, scores, length);
  for (std::int64_t g = 0; g < group; ++g) {
    softmax(scores + g * length, added == nullptr ? nullptr : added + g * added_stride, scale,
            length);
  }
  std::fill_n(sums, group * dim, 0.0F);
  add_weighted(scores, values, group, length, dim, sums);
  for (std::int64_t i = 0; i < group * dim; ++i) out[i] = store<T>(sums[i]);
}

template <typename T>
constexpr DecodeKernels<T> kDecodeKernels{
    .unpack = unpack<T>, .product = product<T, T>, .attend = attend<T>};

}  // namespace
}  // namespace hone::detail::HONE_KERNELS

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "chunk_plan.hpp"
#include "half_precision.hpp"
#include "reduce_kernels.hpp"

namespace hone::distributed::detail {
namespace {

TEST(ChunkPlan, CoversEveryElementOnceInOrder) {
  for (const std::int64_t count : {1, 7, 256, 257, 1000}) {
    const ChunkPlan plan{count, 4, 1024};
    std::int64_t next = 0;
    for (std::int64_t i = 0; i < plan.num_chunks(); ++i) {
      const auto chunk = plan.chunk(i);
      EXPECT_EQ(chunk.first, next);
      EXPECT_GE(chunk.count, 1);
      EXPECT_LE(chunk.count, 256);
      next += chunk.count;
    }
    EXPECT_EQ(next, count);
  }
}

TEST(ChunkPlan, NothingHasNoChunks) { EXPECT_EQ((ChunkPlan{0, 8, 1024}.num_chunks()), 0); }

TEST(ChunkPlan, CountsBeyondAnIntKeepTheirPlace) {
  const std::int64_t count = 5'000'000'003;
  const ChunkPlan plan{count, 4, 1 << 20};
  ASSERT_EQ(plan.num_chunks(), 19074);
  EXPECT_EQ(plan.chunk(19073), (Chunk{.first = 4'999'872'512, .count = 127'491}));
}

TEST(ChunkPlan, AChunkNeverHasMoreThanAnIntOfElements) {
  const std::int64_t count = std::int64_t{3} << 31;
  const ChunkPlan plan{count, 1, std::int64_t{1} << 40};
  EXPECT_EQ(plan.chunk(0).count, std::numeric_limits<int>::max());
  EXPECT_EQ(plan.num_chunks(), 4);
  EXPECT_EQ(plan.chunk(3), (Chunk{.first = 3 * (std::int64_t{1} << 31) - 3, .count = 3}));
}

TEST(ChunkPlan, AnElementLargerThanTheChunkIsAChunk) {
  const ChunkPlan plan{3, 8, 4};
  EXPECT_EQ(plan.num_chunks(), 3);
  EXPECT_EQ(plan.chunk(2), (Chunk{.first = 2, .count = 1}));
}

TEST(Clipped, KeepsWhatTheBufferHas) {
  EXPECT_EQ(clipped({.first = 10, .count = 5}, 100), (Chunk{.first = 10, .count = 5}));
  EXPECT_EQ(clipped({.first = 10, .count = 5}, 12), (Chunk{.first = 10, .count = 2}));
  EXPECT_EQ(clipped({.first = 10, .count = 5}, 4), (Chunk{.first = 4, .count = 0}));
}

TEST(HalfPrecision, EveryValueSurvivesTheWayThroughFloat) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float wide = float16_to_float(half);
    EXPECT_EQ(float_to_float16(wide), std::isnan(wide) ? kFloat16NaN : half);
    const float brain = bfloat16_to_float(half);
    EXPECT_EQ(float_to_bfloat16(brain), std::isnan(brain) ? kBFloat16NaN : half);
  }
}

TEST(HalfPrecision, KnownValues) {
  EXPECT_EQ(float16_to_float(0x3C00), 1.0F);
  EXPECT_EQ(float16_to_float(0xC000), -2.0F);
  EXPECT_EQ(float16_to_float(0x7BFF), 65504.0F);
  EXPECT_EQ(float16_to_float(0x0001), 0x1p-24F);
  EXPECT_EQ(float16_to_float(0x7C00), std::numeric_limits<float>::infinity());
  EXPECT_EQ(bfloat16_to_float(0x3F80), 1.0F);
}

/// The neighbours of `value` half-way up and the rounding to nearest even, over all finite halves.
TEST(HalfPrecision, RoundsToNearestEven) {
  for (std::uint16_t bits = 0; bits < 0x7BFF; ++bits) {
    const float low = float16_to_float(bits);
    const float high = float16_to_float(static_cast<std::uint16_t>(bits + 1));
    const float middle = low + (high - low) / 2;  // exact
    const auto even = static_cast<std::uint16_t>(bits % 2 == 0 ? bits : bits + 1);
    EXPECT_EQ(float_to_float16(middle), even);
    EXPECT_EQ(float_to_float16(std::nextafter(middle, 0.0F)), bits);
    EXPECT_EQ(float_to_float16(std::nextafter(middle, 1e9F)), bits + 1);
    EXPECT_EQ(float_to_float16(-middle), even | 0x8000);
  }
  EXPECT_EQ(float_to_float16(65519.99F), 0x7BFF);
  EXPECT_EQ(float_to_float16(65520.0F), 0x7C00);
  EXPECT_EQ(float_to_bfloat16(std::bit_cast<float>(0x3F808000U)), 0x3F80);  // tie, even below
  EXPECT_EQ(float_to_bfloat16(std::bit_cast<float>(0x3F818000U)), 0x3F82);  // tie, even above
  EXPECT_EQ(float_to_bfloat16(std::bit_cast<float>(0x3F808001U)), 0x3F81);
  EXPECT_EQ(float_to_bfloat16(std::numeric_limits<float>::max()), 0x7F80);
}

TEST(ReduceKernels, SixteenBitFloatsAreRoundedOnceWhenReducedTogether) {
  // 256 + 1 is a tie that rounds back to 256 in bfloat16; 256 + 1 + 1 is 258.
  std::vector<std::uint16_t> a{float_to_bfloat16(256.0F)};
  std::vector<std::uint16_t> b{float_to_bfloat16(1.0F)};
  std::vector<std::uint16_t> c{float_to_bfloat16(1.0F)};
  std::vector<void*> buffers{a.data(), b.data(), c.data()};
  reduce_in_order(buffers, buffers, 0, 1, DType::BFloat16, ReduceOp::Sum);
  EXPECT_EQ(bfloat16_to_float(a[0]), 258.0F);
  EXPECT_EQ(a, b);
  EXPECT_EQ(a, c);
}

TEST(ReduceKernels, OnlyTheSliceIsTouched) {
  std::vector<std::int64_t> a{1, 2, 3, 4};
  std::vector<std::int64_t> b{10, 20, 30, 40};
  std::vector<void*> buffers{a.data(), b.data()};
  reduce_in_order(buffers, buffers, 1, 2, DType::Int64, ReduceOp::Sum);
  EXPECT_EQ(a, (std::vector<std::int64_t>{1, 22, 33, 4}));
  EXPECT_EQ(b, (std::vector<std::int64_t>{10, 22, 33, 40}));
}

TEST(ReduceKernels, TheResultGoesWhereItIsWantedForAnyLengthAndNumberOfBuffers) {
  for (const int num_buffers : {1, 2, 3, 5}) {
    for (const std::int64_t count : {0, 1, 63, 64, 65, 200}) {
      std::vector<std::vector<float>> values(static_cast<std::size_t>(num_buffers));
      std::vector<void*> buffers;
      for (int k = 0; k < num_buffers; ++k) {
        for (int i = 0; i < 210; ++i) values[k].push_back(static_cast<float>(i * 10 + k));
        buffers.push_back(values[k].data());
      }
      const auto before = values;
      std::vector<float> result(210, -1.0F);
      void* const wanted = result.data();
      reduce_in_order(buffers, {&wanted, 1}, 5, count, DType::Float32, ReduceOp::Sum);
      EXPECT_EQ(values, before);
      reduce_in_order(buffers, buffers, 5, count, DType::Float32, ReduceOp::Sum);
      for (int i = 0; i < 210; ++i) {
        const bool inside = i >= 5 && i < 5 + count;
        const auto sum = static_cast<float>(num_buffers * i * 10 + num_buffers * (num_buffers - 1) / 2);
        ASSERT_EQ(result[i], inside ? sum : -1.0F) << i;
        for (int k = 0; k < num_buffers; ++k) ASSERT_EQ(values[k][i], inside ? sum : before[k][i]) << i;
      }
    }
  }
}

TEST(Slices, AreAllOfItOneBehindAnotherOnCacheLines) {
  for (const std::int64_t count : {0, 1, 64, 65, 1000, 12345}) {
    for (const int num_workers : {1, 2, 3, 7}) {
      std::int64_t next = 0;
      for (int worker = 0; worker < num_workers; ++worker) {
        const auto slice = slice_of(count, worker, num_workers);
        EXPECT_EQ(slice.first, next);
        EXPECT_TRUE(slice.first % 64 == 0 || slice.first == count);
        EXPECT_LE(slice.count, count / num_workers + 64);
        next += slice.count;
      }
      EXPECT_EQ(next, count);
    }
  }
}

TEST(ReduceKernels, CombineCommutesInEveryBit) {
  const auto bits = [](float value) { return std::bit_cast<std::uint32_t>(value); };
  const float nan1 = std::bit_cast<float>(0x7FC00001U);
  const float nan2 = std::bit_cast<float>(0xFFC00002U);
  for (const auto& [x, y] : {std::pair{0.0F, -0.0F}, std::pair{1.0F, nan1}, std::pair{nan1, nan2},
                            std::pair{2.0F, -3.0F}}) {
    for (const ReduceOp op : {ReduceOp::Min, ReduceOp::Max}) {
      float left = x;
      float right = y;
      combine(&left, &y, 1, DType::Float32, op);
      combine(&right, &x, 1, DType::Float32, op);
      EXPECT_EQ(bits(left), bits(right)) << x << " with " << y;
    }
  }
}

}  // namespace
}  // namespace hone::distributed::detail

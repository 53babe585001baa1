#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "distributed/typed_buffer.hpp"
#include "hone/core/communicator.hpp"
#include "hone/core/error.hpp"
#include "hone/distributed/all_reduce_gradient_reducer.hpp"

namespace hone::testing {

/// A way to run a body once on every rank of some communicator.
struct World {
  std::string backend;
  int num_ranks = 0;  ///< 0: as many as the job has
  std::function<void(const std::function<void(Communicator&)>&)> run;
  /// Whether Min and Max of floats have NaN where any rank has it, and order -0 below +0. NCCL's
  /// do neither.
  bool orders_nan_and_zeros = true;
  /// Whether buffers lie in the communicator's own memory, and it has some in a world of this size.
  std::function<bool(int size)> has_own_memory = nullptr;
};

/// What every Communicator promises. Instantiated once per implementation; expected values depend
/// on rank, size and position, and are never what a rank brought itself where it has peers.
class CommunicatorContract : public ::testing::TestWithParam<World> {
 protected:
  void run(const std::function<void(Communicator&)>& body) { GetParam().run(body); }

  /// Memory that collectives work on: of the kind that this world is about. Collective.
  static TypedBuffer buffer_of(Communicator& comm, DType dtype, std::int64_t count) {
    const auto& has_own_memory = GetParam().has_own_memory;
    if (!has_own_memory || !has_own_memory(comm.size())) return {dtype, count};
    auto memory =
        comm.allocate(static_cast<std::int64_t>(TypedBuffer::with_guard(dtype, count)));
    if (memory == nullptr) throw std::runtime_error{"the communicator has no memory of its own"};
    return {dtype, count, std::move(memory)};
  }

  /// Element counts: none, one, fewer than ranks, across cache lines, across several 1 MiB chunks.
  static std::vector<std::int64_t> counts(DType dtype) {
    const std::int64_t chunk = (std::int64_t{1} << 20) / size_of(dtype);
#ifdef __SANITIZE_THREAD__
    return {0, 1, 3, 65, 1000, chunk + 13};  // it looks at every element, and finds no more in 3 times as many
#else
    return {0, 1, 3, 65, 1000, chunk, 2 * chunk + 13};
#endif
  }
};

inline std::int64_t contribution(int rank, int size, std::int64_t index) {
  return (rank + index) % size + 1 + index % 7;
}

inline std::int64_t expected_reduction(ReduceOp op, int size, std::int64_t index) {
  switch (op) {
    case ReduceOp::Sum: return size * (size + 1) / 2 + size * (index % 7);
    case ReduceOp::Min: return 1 + index % 7;
    case ReduceOp::Max: return size + index % 7;
  }
  return -1;
}

/// Equal on all ranks, bit for bit.
inline void expect_same_bytes(Communicator& comm, std::span<const std::byte> mine) {
  const auto all = comm.all_gather_bytes(mine);
  for (const auto& other : all) {
    ASSERT_EQ(other.size(), mine.size());
    EXPECT_EQ(std::memcmp(other.data(), mine.data(), mine.size()), 0);
  }
}

/// The message and exit code of the Error that `function` throws; fails the test where it does not.
template <typename Function>
std::pair<std::string, ExitCode> error_of(Function function) {
  try {
    function();
  } catch (const Error& error) {
    return {error.what(), error.exit_code()};
  }
  ADD_FAILURE() << "no hone::Error was thrown";
  return {};
}

TEST_P(CommunicatorContract, EveryRankHasItsOwnNumberInOneWorld) {
  run([&](Communicator& comm) {
    EXPECT_EQ(comm.backend(), GetParam().backend);
    if (GetParam().num_ranks != 0) {
      EXPECT_EQ(comm.size(), GetParam().num_ranks);
    }
    const auto mine = static_cast<std::byte>(comm.rank());
    const auto all = comm.all_gather_bytes({&mine, 1});
    ASSERT_EQ(static_cast<int>(all.size()), comm.size());
    for (int rank = 0; rank < comm.size(); ++rank) {
      EXPECT_EQ(all[rank], std::vector<std::byte>{static_cast<std::byte>(rank)});
    }
  });
}

TEST_P(CommunicatorContract, AllReduceCombinesEveryTypeAndCount) {
  run([&](Communicator& comm) {
    for (const DType dtype : kAllDTypes) {
      for (const ReduceOp op : {ReduceOp::Sum, ReduceOp::Min, ReduceOp::Max}) {
        if (dtype == DType::UInt8 && op == ReduceOp::Sum) continue;
        for (const std::int64_t count : counts(dtype)) {
          auto buffer = buffer_of(comm, dtype, count);
          buffer.fill([&](auto i) { return contribution(comm.rank(), comm.size(), i); });
          comm.all_reduce(buffer.data(), count, dtype, op);
          SCOPED_TRACE(std::string{name_of(dtype)} + " op " + std::to_string(static_cast<int>(op)) +
                       " x " + std::to_string(count));
          buffer.expect([&](auto i) { return expected_reduction(op, comm.size(), i); });
        }
      }
    }
  });
}

TEST_P(CommunicatorContract, ReduceScatterLeavesEveryRankItsOwnBlock) {
  run([&](Communicator& comm) {
    const int size = comm.size();
    for (const DType dtype : kAllDTypes) {
      for (const ReduceOp op : {ReduceOp::Sum, ReduceOp::Min, ReduceOp::Max}) {
        if (dtype == DType::UInt8 && op == ReduceOp::Sum) continue;
        for (const std::int64_t block : counts(dtype)) {
          auto buffer = buffer_of(comm, dtype, size * block);
          buffer.fill([&](auto i) { return contribution(comm.rank(), size, i); });
          comm.reduce_scatter(buffer.data(), block, dtype, op);
          SCOPED_TRACE(std::string{name_of(dtype)} + " op " + std::to_string(static_cast<int>(op)) +
                       " x " + std::to_string(block));
          const auto first = comm.rank() * block;
          buffer.expect([&](auto i) {
            const bool mine = i >= first && i < first + block;
            return mine ? static_cast<double>(expected_reduction(op, size, i)) : buffer.value(i);
          });
        }
      }
    }
  });
}

TEST_P(CommunicatorContract, AllGatherSharesEveryRanksOwnBlock) {
  run([&](Communicator& comm) {
    const int size = comm.size();
    for (const DType dtype : kAllDTypes) {
      for (const std::int64_t block : counts(dtype)) {
        auto buffer = buffer_of(comm, dtype, size * block);
        buffer.fill([&](auto i) { return contribution(comm.rank(), size, i); });
        comm.all_gather(buffer.data(), block, dtype);
        SCOPED_TRACE(std::string{name_of(dtype)} + " x " + std::to_string(block));
        buffer.expect(
            [&](auto i) { return contribution(static_cast<int>(i / block), size, i); });
      }
    }
  });
}

TEST_P(CommunicatorContract, SeveralAllGathersAreThoseOfEach) {
  run([&](Communicator& comm) {
    const int size = comm.size();
    comm.all_gathers({});
    std::vector<TypedBuffer> buffers;
    std::vector<RankBlocks> all;
    for (const DType dtype : kAllDTypes) {
      for (const std::int64_t block : {3, 0, 70}) {
        buffers.push_back(buffer_of(comm, dtype, size * block));
        buffers.back().fill([&](auto i) { return contribution(comm.rank(), size, i); });
        all.push_back({buffers.back().data(), block, dtype});
      }
    }
    comm.all_gathers(all);
    for (std::size_t at = 0; at < all.size(); ++at) {
      SCOPED_TRACE(std::string{name_of(all[at].dtype)} + " x " + std::to_string(all[at].block));
      buffers[at].expect(
          [&](auto i) { return contribution(static_cast<int>(i / all[at].block), size, i); });
    }
  });
}

TEST_P(CommunicatorContract, ItsOwnMemoryIsZeroAlignedAndAsGoodAsAny) {
  run([&](Communicator& comm) {
    for (const std::int64_t count : {1, 1000, 300007}) {
      const auto memory = comm.allocate(count * size_of(DType::Float32));
      if (GetParam().has_own_memory) {
        EXPECT_EQ(memory != nullptr, GetParam().has_own_memory(comm.size()));
      }
      if (memory == nullptr) return;  // it has none, on any rank
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.get()) % 64, 0U);
      const std::span values{reinterpret_cast<float*>(memory.get()),
                             static_cast<std::size_t>(count)};
      for (const float value : values) ASSERT_EQ(value, 0.0F);
      for (int round = 0; round < 3; ++round) {
        for (std::int64_t i = 0; i < count; ++i) {
          values[static_cast<std::size_t>(i)] =
              static_cast<float>(contribution(comm.rank(), comm.size(), i + round));
        }
        comm.all_reduce(values.data(), count, DType::Float32, ReduceOp::Sum);
        for (std::int64_t i = 0; i < count; ++i) {
          ASSERT_EQ(values[static_cast<std::size_t>(i)],
                    expected_reduction(ReduceOp::Sum, comm.size(), i + round));
        }
      }
    }
  });
}

TEST_P(CommunicatorContract, BroadcastCopiesFromEveryRoot) {
  run([&](Communicator& comm) {
    for (const DType dtype : kAllDTypes) {
      for (int root = 0; root < comm.size(); ++root) {
        for (const std::int64_t count : counts(dtype)) {
          auto buffer = buffer_of(comm, dtype, count);
          buffer.fill([&](auto i) { return contribution(comm.rank(), comm.size(), i); });
          comm.broadcast(buffer.data(), count, dtype, root);
          SCOPED_TRACE(std::string{name_of(dtype)} + " x " + std::to_string(count) + " from " +
                       std::to_string(root));
          buffer.expect([&](auto i) { return contribution(root, comm.size(), i); });
        }
      }
    }
  });
}

TEST_P(CommunicatorContract, AllGatherBytesTakesUnequalAndEmptyLengths) {
  run([&](Communicator& comm) {
    const auto bytes_of = [](int rank) {
      return std::vector<std::byte>(static_cast<std::size_t>(rank) * 1000,
                                    static_cast<std::byte>(rank + 1));
    };
    const auto all = comm.all_gather_bytes(bytes_of(comm.rank()));
    ASSERT_EQ(static_cast<int>(all.size()), comm.size());
    for (int rank = 0; rank < comm.size(); ++rank) EXPECT_EQ(all[rank], bytes_of(rank));

    const auto nothing = comm.all_gather_bytes({});
    EXPECT_EQ(nothing, std::vector<std::vector<std::byte>>(comm.size()));
  });
}

TEST_P(CommunicatorContract, AllGatherBytesTakesMoreThanOneRound) {
  run([&](Communicator& comm) {
    const int last = comm.size() - 1;
    const std::size_t longest = (std::size_t{64} << 20) / comm.size() + 5;
    const auto pattern = [](std::size_t i) { return static_cast<std::byte>(i * 31 % 251 + 1); };
    std::vector<std::byte> mine(comm.rank() == last ? longest : 3);
    for (std::size_t i = 0; i < mine.size(); ++i) mine[i] = pattern(i + comm.rank());
    const auto all = comm.all_gather_bytes(mine);
    for (int rank = 0; rank < comm.size(); ++rank) {
      ASSERT_EQ(all[rank].size(), rank == last ? longest : 3U);
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < all[rank].size(); ++i) wrong += all[rank][i] != pattern(i + rank);
      EXPECT_EQ(wrong, 0U) << "from rank " << rank;
    }
  });
}

/// `length` bytes that tell by whom and to whom they were sent, and their places.
inline std::vector<std::byte> bytes_between(int from, int to, std::size_t length) {
  std::vector<std::byte> bytes(length);
  for (std::size_t i = 0; i < length; ++i) {
    bytes[i] = static_cast<std::byte>((i * 31 + static_cast<std::size_t>(from * 16 + to)) % 251);
  }
  return bytes;
}

/// Exchanges length(from, to) bytes between all ranks and compares each. Collective.
inline void expect_all_to_all(Communicator& comm,
                              const std::function<std::size_t(int from, int to)>& length) {
  std::vector<std::vector<std::byte>> to;
  for (int rank = 0; rank < comm.size(); ++rank) {
    to.push_back(bytes_between(comm.rank(), rank, length(comm.rank(), rank)));
  }
  const auto from = comm.all_to_all_bytes(to);
  ASSERT_EQ(static_cast<int>(from.size()), comm.size());
  for (int rank = 0; rank < comm.size(); ++rank) {
    EXPECT_TRUE(from[rank] == bytes_between(rank, comm.rank(), length(rank, comm.rank())))
        << from[rank].size() << " bytes from rank " << rank;
  }
}

TEST_P(CommunicatorContract, AllToAllBytesTakesUnequalAndEmptyLengths) {
  run([](Communicator& comm) {
    expect_all_to_all(comm, [](int from, int to) { return (from * 3 + to) % 4 * 501 + to; });
    expect_all_to_all(comm, [](int, int) { return 0; });
    // One rank sends to one other alone.
    const int last = comm.size() - 1;
    expect_all_to_all(comm, [=](int from, int to) { return from == last && to == 0 ? 7 : 0; });
  });
}

TEST_P(CommunicatorContract, AllToAllBytesTakesMoreThanOneRound) {
  run([](Communicator& comm) {
    const int last = comm.size() - 1;
    const std::size_t longest = (std::size_t{64} << 20) / comm.size() + 5;
    expect_all_to_all(comm, [=](int from, int to) {
      return from == last && to == 0 ? longest : static_cast<std::size_t>(3 + to);
    });
  });
}

TEST_P(CommunicatorContract, SumsOfFloatsAreTheSameBitsOnEveryRank) {
  run([&](Communicator& comm) {
    std::mt19937 random(20 + comm.rank());
    std::normal_distribution<float> normal{0.0F, 1.0F};
    // From one element over every size at which MPI libraries change their algorithm, odd ones too.
    for (const std::int64_t count : {1, 2, 3, 5, 17, 255, 1021, 4099, 16385, 65537, 262143, 262147,
                                     600011}) {
      for (const DType dtype : {DType::Float32, DType::Float64, DType::BFloat16, DType::Float16}) {
        auto buffer = buffer_of(comm, dtype, count);
        buffer.fill([&](auto) { return normal(random) * std::exp2(normal(random) * 8.0F); });
        comm.all_reduce(buffer.data(), count, dtype, ReduceOp::Sum);
        SCOPED_TRACE(std::string{name_of(dtype)} + " x " + std::to_string(count));
        expect_same_bytes(comm, buffer.bytes());
      }
    }
  });
}

TEST_P(CommunicatorContract, MinAndMaxOfFloatsAreNanWhereAnyRankHasOne) {
  if (!GetParam().orders_nan_and_zeros) GTEST_SKIP() << "the backend does not promise it";
  run([&](Communicator& comm) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    for (const DType dtype : {DType::Float32, DType::Float64, DType::BFloat16, DType::Float16}) {
      for (const ReduceOp op : {ReduceOp::Min, ReduceOp::Max}) {
        for (int bad = 0; bad < comm.size(); ++bad) {
          auto buffer = buffer_of(comm, dtype, 9);
          buffer.fill([&](auto i) { return comm.rank() == bad && i == 4 ? nan : comm.rank() + 1.0; });
          comm.all_reduce(buffer.data(), 9, dtype, op);
          EXPECT_TRUE(std::isnan(buffer.value(4)));
          EXPECT_EQ(buffer.value(3), op == ReduceOp::Min ? 1.0 : comm.size());
          expect_same_bytes(comm, buffer.bytes());
        }
      }
    }
  });
}

TEST_P(CommunicatorContract, MinAndMaxOrderTheTwoZeros) {
  if (!GetParam().orders_nan_and_zeros) GTEST_SKIP() << "the backend does not promise it";
  run([&](Communicator& comm) {
    for (const DType dtype : {DType::Float32, DType::Float64, DType::BFloat16, DType::Float16}) {
      for (int negative = 0; negative < comm.size(); ++negative) {
        auto low = buffer_of(comm, dtype, 2);
        low.fill([&](auto) { return comm.rank() == negative ? -0.0 : 0.0; });
        comm.all_reduce(low.data(), 2, dtype, ReduceOp::Min);
        EXPECT_TRUE(std::signbit(low.value(0)));
        auto high = buffer_of(comm, dtype, 2);
        high.fill([&](auto) { return comm.rank() == negative ? -0.0 : 0.0; });
        comm.all_reduce(high.data(), 2, dtype, ReduceOp::Max);
        EXPECT_EQ(std::signbit(high.value(1)), comm.size() == 1);
      }
    }
  });
}

TEST_P(CommunicatorContract, RefusesWrongArgumentsAndGoesOn) {
  run([&](Communicator& comm) {
    float value = 1.0F;
    EXPECT_THROW(comm.all_reduce(&value, -1, DType::Float32, ReduceOp::Sum), CommunicatorError);
    EXPECT_THROW(comm.all_reduce(nullptr, 1, DType::Float32, ReduceOp::Sum), CommunicatorError);
    EXPECT_THROW(comm.all_reduce(&value, 1, DType::UInt8, ReduceOp::Sum), CommunicatorError);
    EXPECT_THROW(comm.reduce_scatter(&value, -1, DType::Float32, ReduceOp::Sum), CommunicatorError);
    EXPECT_THROW(comm.reduce_scatter(&value, 1, DType::UInt8, ReduceOp::Sum), CommunicatorError);
    EXPECT_THROW(comm.all_gather(nullptr, 1, DType::Float32), CommunicatorError);
    EXPECT_THROW(comm.broadcast(&value, 1, DType::Float32, comm.size()), CommunicatorError);
    EXPECT_THROW(comm.broadcast(&value, 1, DType::Float32, -1), CommunicatorError);
    const std::vector<std::vector<std::byte>> too_many(static_cast<std::size_t>(comm.size()) + 1);
    EXPECT_THROW(comm.all_to_all_bytes(too_many), CommunicatorError);
    EXPECT_THROW(comm.all_to_all_bytes({}), CommunicatorError);
    comm.all_reduce(nullptr, 0, DType::Float32, ReduceOp::Sum);
    comm.all_reduce(&value, 1, DType::Float32, ReduceOp::Sum);
    EXPECT_EQ(value, static_cast<float>(comm.size()));
  });
}

TEST_P(CommunicatorContract, HelpersReduceAndMoveText) {
  run([&](Communicator& comm) {
    const int size = comm.size();
    comm.barrier();
    EXPECT_TRUE(all_true(comm, true));
    for (int odd = 0; odd < size; ++odd) EXPECT_FALSE(all_true(comm, comm.rank() != odd));

    std::vector<double> sums{comm.rank() + 0.5, -1.0};
    all_reduce_sum(comm, sums);
    EXPECT_EQ(sums, (std::vector<double>{size * size / 2.0, -1.0 * size}));
    std::vector<std::int64_t> wide{std::int64_t{1} << 40, comm.rank() + 1};
    all_reduce_sum(comm, wide);
    EXPECT_EQ(wide, (std::vector<std::int64_t>{(std::int64_t{1} << 40) * size,
                                               size * (size + 1) / 2}));

    const auto texts = all_gather_strings(comm, std::string(comm.rank(), 'x'));
    ASSERT_EQ(static_cast<int>(texts.size()), size);
    for (int rank = 0; rank < size; ++rank) EXPECT_EQ(texts[rank], std::string(rank, 'x'));
    for (int root = 0; root < size; ++root) {
      EXPECT_EQ(broadcast_string(comm, "from " + std::to_string(comm.rank()), root),
                "from " + std::to_string(root));
    }
    EXPECT_EQ(broadcast_string(comm, comm.rank() == 0 ? "" : "not this"), "");
  });
}

TEST_P(CommunicatorContract, OneFailingRankMakesAllThrowItsError) {
  run([&](Communicator& comm) {
    for (int bad = 0; bad < comm.size(); ++bad) {
      const auto [message, code] = error_of([&] {
        run_agreed(comm, [&] {
          if (comm.rank() == bad) throw InputError{"row 7 is empty", ExitCode::MissingInput};
        });
      });
      EXPECT_EQ(code, ExitCode::MissingInput);
      EXPECT_NE(message.find("row 7 is empty"), std::string::npos) << message;
      if (comm.size() > 1) {
        EXPECT_NE(message.find("rank " + std::to_string(bad)), std::string::npos) << message;
      }
      expect_same_bytes(comm, std::as_bytes(std::span{message}));
    }
    run_agreed(comm, [] {});  // in step again
  });
}

TEST_P(CommunicatorContract, TheLowestFailingRankIsReported) {
  run([&](Communicator& comm) {
    const auto [message, code] = error_of(
        [&] { agree_or_throw(comm, {"bad " + std::to_string(comm.rank()), ExitCode{65 + comm.rank()}}); });
    EXPECT_NE(message.find("bad 0"), std::string::npos) << message;
    EXPECT_EQ(code, ExitCode::InvalidData);
  });
}

TEST_P(CommunicatorContract, FailuresOfEveryKindTravel) {
  run([&](Communicator& comm) {
    const int last = comm.size() - 1;
    const auto failing = [&](const std::function<void()>& failure) {
      return error_of([&] {
        run_agreed(comm, [&] {
          if (comm.rank() == last) failure();
        });
      });
    };
    EXPECT_EQ(failing([] { throw std::bad_alloc{}; }).second, ExitCode::OutOfMemory);
    const auto [memory, code] = failing([] {
      throw std::runtime_error{"CUDA out of memory. Tried 6 GiB\nException raised from malloc (frames)"};
    });
    EXPECT_EQ(code, ExitCode::OutOfMemory);
    EXPECT_EQ(memory.find("frames"), std::string::npos) << "the tensor library's stack";
    EXPECT_EQ(failing([] { throw std::runtime_error{"odd"}; }).second, ExitCode::Internal);
    EXPECT_EQ(failing([] { throw 42; }).second, ExitCode::Internal);
    EXPECT_EQ(failing([] { throw ConfigError{""}; }).second, ExitCode::Usage);
  });
}

/// All buckets of all buffers, as a backward pass that is over does.
inline void reduce_all(GradientReducer& reducer, const std::vector<FlatBuffer>& buffers,
                       SumsFor whom = SumsFor::AllRanks) {
  for (const auto& buffer : buffers) {
    const auto parts = reducer.partition(buffer.count);
    for (std::int64_t i = 0; i < parts.num_buckets(); ++i) reducer.start(buffer, i, whom);
  }
  reducer.wait();
}

TEST_P(CommunicatorContract, GradientBuffersAreSummed) {
  run([&](Communicator& comm) {
    auto single = buffer_of(comm, DType::Float32, 1001);
    auto none = buffer_of(comm, DType::Float32, 0);
    auto half = buffer_of(comm, DType::BFloat16, 33);
    for (auto* buffer : {&single, &none, &half}) {
      buffer->fill([&](auto i) { return contribution(comm.rank(), comm.size(), i); });
    }
    distributed::AllReduceGradientReducer reducer{comm};
    const std::vector<FlatBuffer> buffers{{single.data(), 1001, DType::Float32},
                                              {none.data(), 0, DType::Float32},
                                              {half.data(), 33, DType::BFloat16}};
    reduce_all(reducer, buffers);
    for (auto* buffer : {&single, &none, &half}) {
      buffer->expect([&](auto i) { return expected_reduction(ReduceOp::Sum, comm.size(), i); });
    }
  });
}

/// A rank's gradient: of both signs, over many binades, such that sums cancel.
inline std::vector<float> gradient_of(int rank, std::int64_t count) {
  std::mt19937 random(70 + static_cast<unsigned>(rank));
  std::normal_distribution<float> normal{0.0F, 1.0F};
  std::vector<float> values(static_cast<std::size_t>(count));
  for (auto& value : values) value = normal(random) * std::exp2(4.0F * normal(random));
  return values;
}

/// How far a sum may be off that is sent as bfloat16: each number is rounded once, to within 2^-8,
/// and each sum of so many at most once more; the exact sum and what it is measured in.
struct NarrowSum {
  double exact = 0.0;
  double bound = 0.0;
};

inline NarrowSum narrow_sum(int size, const std::vector<std::vector<float>>& all, std::size_t i) {
  NarrowSum sum;
  for (const auto& values : all) {
    sum.exact += values[i];
    sum.bound += std::abs(values[i]) * size * (1.0 + 1.0 / 128) / 256;
  }
  return sum;
}

TEST_P(CommunicatorContract, GradientsAreSummedForTheirOwnersAndShared) {
  run([&](Communicator& comm) {
    distributed::AllReduceGradientReducer reducer{comm, {.bucket_bytes = 400}};
    for (const std::int64_t count : {0, 5, 1001}) {
      TypedBuffer buffer{DType::Float32, count};
      buffer.fill([&](auto i) { return contribution(comm.rank(), comm.size(), i); });
      const std::vector<FlatBuffer> buffers{{buffer.data(), count, DType::Float32}};
      reduce_all(reducer, buffers, SumsFor::Owners);
      const auto parts = reducer.partition(count);
      EXPECT_EQ(parts.num_buckets() > 1, count > 128 * comm.size());
      for (std::int64_t bucket = 0; bucket < parts.num_buckets(); ++bucket) {
        const auto owned = parts.owned(bucket, comm.rank());
        for (auto i = owned.begin; i < owned.end(); ++i) {
          ASSERT_EQ(buffer.value(i), expected_reduction(ReduceOp::Sum, comm.size(), i));
        }
      }
      reducer.share(buffers);
      buffer.expect([&](auto i) { return expected_reduction(ReduceOp::Sum, comm.size(), i); });
    }
  });
}

TEST_P(CommunicatorContract, GradientsThatAreSentNarrowAreOffByTheirRoundingOnly) {
  run([&](Communicator& comm) {
    constexpr std::int64_t kCount = 3001;
    std::vector<std::vector<float>> all;
    for (int rank = 0; rank < comm.size(); ++rank) all.push_back(gradient_of(rank, kCount));
    distributed::AllReduceGradientReducer reducer{comm,
                                                  {.bucket_bytes = 4000, .bfloat16_on_wire = true}};
    for (const bool for_owners : {false, true}) {
      auto mine = all[static_cast<std::size_t>(comm.rank())];
      const std::vector<FlatBuffer> buffers{{mine.data(), kCount, DType::Float32}};
      reduce_all(reducer, buffers, for_owners ? SumsFor::Owners : SumsFor::AllRanks);
      if (for_owners) reducer.share(buffers);
      int num_rounded = 0;
      for (std::size_t i = 0; i < mine.size(); ++i) {
        const auto sum = narrow_sum(comm.size(), all, i);
        ASSERT_LE(std::abs(mine[i] - sum.exact), sum.bound) << i;
        num_rounded += mine[i] != static_cast<float>(sum.exact);
      }
      EXPECT_EQ(num_rounded > kCount / 2, comm.size() > 1);  // it was sent narrow
      expect_same_bytes(comm, std::as_bytes(std::span{mine}));
    }
  });
}

}  // namespace hone::testing

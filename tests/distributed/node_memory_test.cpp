// Memory that the ranks of a node share: the contract of every communicator on it, on one node and
// on several (ranks of this machine that pass for nodes), and what is special about it.

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>

#include "distributed/communicator_contract.hpp"
#include "distributed/mpi_test_main.hpp"
#include "hone/distributed/mpi_communicator.hpp"

namespace hone::testing {
namespace {

using distributed::MpiCommunicator;
using distributed::NodeOptions;
using ::testing::HasSubstr;

using NodeOf = std::function<int(int rank)>;

bool any_share(const NodeOf& node_of, int size) {
  std::map<int, int> ranks;
  for (int rank = 0; rank < size; ++rank) ++ranks[node_of(rank)];
  return static_cast<int>(ranks.size()) < size;
}

World world_of(const NodeOf& node_of) {
  return {.backend = "mpi",
          .run = [node_of](const auto& body) {
            MpiCommunicator comm{MPI_COMM_WORLD, {.node = node_of(mpi_environment().rank())}};
            body(comm);
          },
          .has_own_memory = [node_of](int size) { return any_share(node_of, size); }};
}

World this_machine() {
  return {.backend = "mpi",
          .run = [](const auto& body) {
            MpiCommunicator comm;
            body(comm);
          },
          .has_own_memory = [](int size) { return size > 1; }};
}

INSTANTIATE_TEST_SUITE_P(OneNode, CommunicatorContract, ::testing::Values(this_machine()));
// With four ranks 2 + 2 and 1 + 3 on a node, with three 2 + 1 and 1 + 2.
INSTANTIATE_TEST_SUITE_P(NodesInTurn, CommunicatorContract,
                         ::testing::Values(world_of([](int rank) { return rank % 2; })));
INSTANTIATE_TEST_SUITE_P(FirstRankApart, CommunicatorContract,
                         ::testing::Values(world_of([](int rank) { return rank == 0 ? 1 : 0; })));

class NodeMemory : public ::testing::Test {
 protected:
  static int rank() { return mpi_environment().rank(); }
  static int size() { return mpi_environment().size(); }
  static bool is_last() { return rank() == size() - 1; }

  static std::span<float> floats(const std::shared_ptr<std::byte>& memory, std::size_t count) {
    return {reinterpret_cast<float*>(memory.get()), count};
  }
};

/// A limit of this process, as the shell's ulimit sets it, until the end of the scope.
class Limited {
 public:
  Limited(__rlimit_resource resource, rlim_t value) : resource_(resource) {
    getrlimit(resource_, &before_);
    const rlimit lowered{.rlim_cur = value, .rlim_max = before_.rlim_max};
    setrlimit(resource_, &lowered);
  }
  ~Limited() { setrlimit(resource_, &before_); }
  Limited(const Limited&) = delete;
  Limited& operator=(const Limited&) = delete;

 private:
  __rlimit_resource resource_;
  rlimit before_{};
};

void expect_refused(MpiCommunicator& comm, std::int64_t bytes, const std::string& why) {
  EXPECT_EQ(comm.allocate(bytes), nullptr);
  const std::string refusal = comm.memory_refusal();
  EXPECT_THAT(refusal, HasSubstr(why));
  expect_same_bytes(comm, std::as_bytes(std::span{refusal}));
}

/// Address space of this process.
rlim_t mapped_bytes() {
  std::ifstream file{"/proc/self/statm"};
  rlim_t pages = 0;
  file >> pages;
  return pages * 4096;
}

TEST_F(NodeMemory, IsRefusedToAllWhereOneRankMayNotShare) {
  MpiCommunicator comm{MPI_COMM_WORLD, {.share_memory = !is_last()}};
  expect_refused(comm, 4096, "rank " + std::to_string(size() - 1) + ": sharing memory is switched off");
  std::int64_t value = 1;
  comm.all_reduce(&value, 1, DType::Int64, ReduceOp::Sum);
  EXPECT_EQ(value, size());
}

TEST_F(NodeMemory, IsRefusedToAllWhereOneRankHasNoRoomAndGivenOnceItHas) {
  MpiCommunicator comm;
  {
    std::optional<Limited> limit;
    if (is_last()) limit.emplace(RLIMIT_FSIZE, 1 << 20);
    expect_refused(comm, 8 << 20, "rank " + std::to_string(size() - 1) + ": the limit of file sizes");
  }
  EXPECT_NE(comm.allocate(8 << 20), nullptr);
  EXPECT_EQ(comm.memory_refusal(), "");
}

TEST_F(NodeMemory, IsRefusedToAllWhereOneRankCannotMapItsPeers) {
  MpiCommunicator comm;
  constexpr std::int64_t kBytes = 256 << 20;
  std::optional<Limited> limit;
  // Room for its own, not for one more.
  if (is_last()) limit.emplace(RLIMIT_AS, mapped_bytes() + kBytes * 3 / 2);
  expect_refused(comm, kBytes, "rank " + std::to_string(size() - 1) + ": mapping");
}

TEST_F(NodeMemory, IsNotThereWhereNoTwoRanksShareANode) {
  MpiCommunicator comm{MPI_COMM_WORLD, {.node = rank()}};
  expect_refused(comm, 4096, "no two ranks share a node");
}

TEST_F(NodeMemory, OutlivesTheCommunicator) {
  std::shared_ptr<std::byte> memory;
  {
    MpiCommunicator comm;
    memory = comm.allocate(1000 * 4);
    std::ranges::fill(floats(memory, 1000), 1.0F);
    comm.all_reduce(memory.get(), 1000, DType::Float32, ReduceOp::Sum);
  }
  for (const float value : floats(memory, 1000)) EXPECT_EQ(value, size());
  std::ranges::fill(floats(memory, 1000), 2.0F);
  MpiCommunicator another;  // to which it is memory like any other
  another.all_reduce(memory.get(), 1000, DType::Float32, ReduceOp::Sum);
  for (const float value : floats(memory, 1000)) EXPECT_EQ(value, 2 * size());
}

TEST_F(NodeMemory, IsGivenBackWithItsMappingsAndFiles) {
  const auto num_mapped = [] {
    std::ifstream maps{"/proc/self/maps"};
    std::string line;
    int count = 0;
    while (std::getline(maps, line)) count += line.find("/memfd:hone-") != std::string::npos;
    return count;
  };
  const auto num_open = [] {
    const std::filesystem::directory_iterator files{"/proc/self/fd"};
    return std::distance(begin(files), end(files));
  };
  MpiCommunicator comm;
  comm.allocate(4096);
  const auto open_before = num_open();
  ASSERT_EQ(num_mapped(), 0);
  const auto kept = comm.allocate(1 << 20);
  EXPECT_EQ(num_mapped(), size());
  for (int round = 0; round < 100; ++round) {
    const auto memory = comm.allocate(1 << 20);
    ASSERT_EQ(num_mapped(), 2 * size());
    comm.all_reduce(memory.get(), 1000, DType::Float32, ReduceOp::Sum);
  }
  EXPECT_EQ(num_mapped(), size());
  EXPECT_EQ(num_open(), open_before);
}

TEST_F(NodeMemory, OnlyTheRangeIsTouched) {
  for (const auto node : {std::optional<int>{}, std::optional{rank() / 2}, std::optional{rank() / 3}}) {
    MpiCommunicator comm{MPI_COMM_WORLD, {.node = node}};
    const auto memory = comm.allocate(10'000 * 4);
    if (memory == nullptr) continue;
    const auto values = floats(memory, 10'000);
    std::ranges::fill(values, 1.0F + rank());
    const std::int64_t count = 777 * size();
    comm.all_reduce(values.data() + 13, count, DType::Float32, ReduceOp::Sum);
    const float sum = size() * (size() + 1) / 2.0F;
    for (std::int64_t i = 0; i < 10'000; ++i) {
      const bool inside = i >= 13 && i < 13 + count;
      ASSERT_EQ(values[static_cast<std::size_t>(i)], inside ? sum : 1.0F + rank()) << i;
    }
    comm.broadcast(values.data() + 5000, 100, DType::Float32, size() - 1);
    EXPECT_EQ(values[5099], size());
    EXPECT_EQ(values[5100], 1.0F + rank());
  }
}

TEST_F(NodeMemory, SumsOfSixteenBitFloatsAreRoundedOnceOnANode) {
  if (size() < 3) GTEST_SKIP() << "two numbers are rounded once anyway";
  MpiCommunicator comm;
  const auto memory = comm.allocate(100 * 2);
  auto* values = reinterpret_cast<std::uint16_t*>(memory.get());
  // 256 + 1 is a tie that rounds back to 256 in bfloat16; 256 + 1 + 1 is 258.
  const float mine = rank() == 0 ? 256.0F : rank() <= 2 ? 1.0F : 0.0F;
  std::fill_n(values, 100, distributed::detail::float_to_bfloat16(mine));
  comm.all_reduce(values, 100, DType::BFloat16, ReduceOp::Sum);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(distributed::detail::bfloat16_to_float(values[i]), 258.0F);
  }
}

/// Both sides of the disagreement, on every rank.
void expect_out_of_step(const std::function<void()>& call) {
  const auto [message, code] = error_of(call);
  EXPECT_EQ(code, ExitCode::Internal);
  EXPECT_THAT(message, HasSubstr("all ranks must pass the same range"));
  EXPECT_THAT(message, HasSubstr("rank"));
}

TEST_F(NodeMemory, ARankAtAnotherPlaceIsAnErrorOnAllAndNoWrongSum) {
  MpiCommunicator comm;
  const auto memory = comm.allocate(1000 * 4);
  auto* start = reinterpret_cast<float*>(memory.get()) + (is_last() ? 16 : 0);
  expect_out_of_step([&] { comm.all_reduce(start, 500, DType::Float32, ReduceOp::Sum); });
  for (const float value : floats(memory, 1000)) EXPECT_EQ(value, 0.0F);
  const auto [later, code] = error_of([&] { comm.barrier(); });
  EXPECT_THAT(later, HasSubstr("unusable"));
  EXPECT_THAT(later, HasSubstr("from byte 64 of allocation 1"));
}

TEST_F(NodeMemory, ARankInAnotherCallIsAnErrorOnAll) {
  MpiCommunicator comm;
  const auto memory = comm.allocate(1000 * 4);
  expect_out_of_step([&] {
    comm.all_reduce(memory.get(), is_last() ? 500 : 501, DType::Float32, ReduceOp::Sum);
  });
}

TEST_F(NodeMemory, ARankInAnotherAllocationIsAnErrorOnAll) {
  MpiCommunicator comm;
  const auto one = comm.allocate(1000 * 4);
  const auto two = comm.allocate(1000 * 4);
  expect_out_of_step([&] {
    comm.all_reduce((is_last() ? two : one).get(), 500, DType::Float32, ReduceOp::Sum);
  });
}

}  // namespace
}  // namespace hone::testing

#include "hone/distributed/mpi_communicator.hpp"

#include <algorithm>

#include "distributed/communicator_contract.hpp"
#include "distributed/mpi_test_main.hpp"
#include "half_precision.hpp"
#include "hone/distributed/communicator_factory.hpp"
#include "mpi_error.hpp"

namespace hone::testing {
namespace {

using distributed::Backend;
using distributed::MpiCommunicator;

INSTANTIATE_TEST_SUITE_P(Mpi, CommunicatorContract,
                         ::testing::Values(World{"mpi", 0, [](const auto& body) {
                                                   MpiCommunicator comm;
                                                   body(comm);
                                                 }}));

/// A part of MPI_COMM_WORLD, freed at scope end.
class SubWorld {
 public:
  explicit SubWorld(bool take_part) {
    MPI_Comm_split(MPI_COMM_WORLD, take_part ? 0 : MPI_UNDEFINED, 0, &comm_);
  }
  ~SubWorld() {
    if (comm_ != MPI_COMM_NULL) MPI_Comm_free(&comm_);
  }
  SubWorld(const SubWorld&) = delete;
  SubWorld& operator=(const SubWorld&) = delete;
  MPI_Comm get() const { return comm_; }

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
};

TEST(MpiEnvironment, KnowsWhereThisRankStands) {
  const auto& environment = mpi_environment();
  int rank = -1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  EXPECT_EQ(environment.rank(), rank);
  // All ranks of this test share one machine.
  EXPECT_EQ(environment.local_rank(), environment.rank());
  EXPECT_EQ(environment.local_size(), environment.size());
  EXPECT_FALSE(environment.host_name().empty());
  EXPECT_EQ(environment.library_version().find(','), std::string::npos);
  EXPECT_FALSE(environment.library_version().empty());
}

TEST(MpiEnvironment, FinalizesOnlyWhatItInitialised) {
  {
    distributed::MpiEnvironment guest;
    guest.finalize();
  }
  int finalized = 1;
  MPI_Finalized(&finalized);
  EXPECT_EQ(finalized, 0);
}

TEST(MpiCommunicator, WorksOnAGivenPartOfTheWorld) {
  const int size = mpi_environment().size();
  const bool in_part = mpi_environment().rank() != 0 || size == 1;
  const SubWorld part{in_part};
  if (!in_part) return;
  MpiCommunicator comm{part.get()};
  EXPECT_EQ(comm.size(), std::max(1, size - 1));
  std::int64_t value = mpi_environment().rank() + 1;
  comm.all_reduce(&value, 1, DType::Int64, ReduceOp::Max);
  EXPECT_EQ(value, size);
}

/// 256 + 1 is a tie that rounds back to 256 in bfloat16; 256 + 1 + 1 is 258.
TEST(MpiCommunicator, SumsOfSixteenBitFloatsAreRoundedOnce) {
  if (mpi_environment().size() < 3) GTEST_SKIP() << "two numbers are rounded once anyway";
  MpiCommunicator comm;
  const float mine = comm.rank() == 0 ? 256.0F : comm.rank() <= 2 ? 1.0F : 0.0F;
  constexpr std::int64_t kCount = 600'001;  // more than one chunk
  std::vector<std::uint16_t> values(kCount, distributed::detail::float_to_bfloat16(mine));
  comm.all_reduce(values.data(), kCount, DType::BFloat16, ReduceOp::Sum);
  const auto sum = distributed::detail::float_to_bfloat16(258.0F);
  EXPECT_EQ(std::ranges::count(values, sum), kCount);

  values.assign(kCount * comm.size(), distributed::detail::float_to_bfloat16(mine));
  comm.reduce_scatter(values.data(), kCount, DType::BFloat16, ReduceOp::Sum);
  const auto own = values.begin() + comm.rank() * kCount;
  EXPECT_EQ(std::count(own, own + kCount, sum), kCount);
}

TEST(MpiCommunicator, AFailureNamesOperationNumberAndMpisReasonAndIsFinal) {
  if (mpi_environment().size() == 1) GTEST_SKIP() << "a failure needs a peer to disagree with";
  const bool in_pair = mpi_environment().rank() < 2;
  const SubWorld pair{in_pair};
  if (!in_pair) return;
  MpiCommunicator comm{pair.get()};
  comm.barrier();
  std::vector<std::int64_t> values(8, comm.rank());
  if (comm.rank() == 0) {
    comm.broadcast(values.data(), 8, DType::Int64, 0);
    return;
  }
  // Fewer elements than the root sends: MPI cuts the message off and says so.
  const auto [message, code] =
      error_of([&] { comm.broadcast(values.data(), 4, DType::Int64, 0); });
  EXPECT_EQ(code, ExitCode::Internal);
  EXPECT_NE(message.find("collective 2, broadcast(4 x int64, root 0)"), std::string::npos) << message;
  EXPECT_NE(message.find("MPI_ERR_TRUNCATE"), std::string::npos) << message;
  const auto [later, later_code] = error_of([&] { comm.barrier(); });
  EXPECT_EQ(later_code, ExitCode::Internal);
  EXPECT_NE(later.find("unusable"), std::string::npos) << later;
  EXPECT_NE(later.find("MPI_ERR_TRUNCATE"), std::string::npos) << later;
}

TEST(MpiExitCode, IsABugOnlyWhereTheCallWasWrong) {
  const auto code_of = distributed::detail::mpi_exit_code;
  for (const int wrong : {MPI_ERR_TRUNCATE, MPI_ERR_COUNT, MPI_ERR_TYPE, MPI_ERR_COMM}) {
    EXPECT_EQ(code_of(wrong), ExitCode::Internal);
  }
  EXPECT_EQ(code_of(MPI_ERR_NO_MEM), ExitCode::OutOfMemory);
  for (const int lost : {MPI_ERR_OTHER, MPI_ERR_INTERN, MPI_ERR_UNKNOWN}) {
    EXPECT_EQ(code_of(lost), ExitCode::Stopped);
  }
}

TEST(CommunicatorFactory, AutoTakesMpiOnlyWhereThereArePeers) {
  const auto comm = make_communicator(Backend::Auto, mpi_environment());
  EXPECT_EQ(comm->backend(), mpi_environment().size() == 1 ? "loopback" : "mpi");
  EXPECT_EQ(comm->size(), mpi_environment().size());
  EXPECT_EQ(make_communicator(Backend::Mpi, mpi_environment())->backend(), "mpi");
}

TEST(CommunicatorFactory, RanksThatAskForLoopbackCanBeTold) {
  EXPECT_EQ(make_communicator(Backend::Loopback, mpi_environment())->backend(),
            make_communicator(Backend::Auto, mpi_environment())->backend());
}

TEST(CommunicatorFactory, WithNcclHostMemoryTravelsAsByDefault) {
  EXPECT_EQ(make_communicator(Backend::Nccl, mpi_environment())->backend(),
            make_communicator(Backend::Auto, mpi_environment())->backend());
}

}  // namespace
}  // namespace hone::testing

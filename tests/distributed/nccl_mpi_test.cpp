#include "distributed/mpi_test_main.hpp"
#include "distributed/nccl_faults.hpp"
#include "distributed/nccl_world.hpp"
#include "hone/distributed/mpi_communicator.hpp"

namespace hone::testing {
namespace {

using distributed::MpiCommunicator;
using ::testing::HasSubstr;

INSTANTIATE_TEST_SUITE_P(NcclOnMpi, CommunicatorContract,
                         ::testing::Values(nccl_world(0, [](const auto& body) {
                           MpiCommunicator host;
                           body(host);
                         })));

/// How the sequence ended on every rank, with a fault at the last rank's operation.
std::vector<std::string> endings(int operation, const std::string& fault) {
  MpiCommunicator host;
  const FaultScript faults{"r" + std::to_string(host.size() - 1) + ":op" +
                           std::to_string(operation) + ":" + fault};
  return all_gather_strings(host, end_of_sequence(host).message);
}

TEST(NcclFaultsOnMpi, AnErrorAtEveryOperationIsNamedWhereItHappened) {
  for (int operation = 1; operation <= 6; ++operation) {
    const auto all = endings(operation, "async=6");
    for (const auto& message : all) {
      const bool guilty = &message == &all.back();
      EXPECT_THAT(message, HasSubstr(name_in_sequence(operation)));
      EXPECT_THAT(message, HasSubstr(guilty ? "remote process exited" : "not done after 500 ms"));
    }
  }
}

TEST(NcclFaultsOnMpi, AHangAtEveryOperationEndsAtTheDeadline) {
  for (int operation = 1; operation <= 6; ++operation) {
    for (const auto& message : endings(operation, "hang")) {
      EXPECT_THAT(message, HasSubstr(name_in_sequence(operation) + "not done after 500 ms"));
    }
  }
}

}  // namespace
}  // namespace hone::testing

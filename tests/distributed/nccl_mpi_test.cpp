#include "distributed/mpi_test_main.hpp"
#include "distributed/nccl_world.hpp"
#include "hone/distributed/mpi_communicator.hpp"

namespace hone::testing {
namespace {

using distributed::MpiCommunicator;

INSTANTIATE_TEST_SUITE_P(NcclOnMpi, CommunicatorContract,
                         ::testing::Values(nccl_world(0, [](const auto& body) {
                           MpiCommunicator host;
                           body(host);
                         })));

}  // namespace
}  // namespace hone::testing

// N ranks compute what one rank computes: ranks as processes that sum gradients over (a fake) NCCL,
// during the backward pass, watched as the program's are.
#include <gtest/gtest.h>

#include <memory>

#include "distributed/fake_nccl.hpp"
#include "hone/distributed/flight_recorder.hpp"
#include "hone/distributed/mpi_communicator.hpp"
#include "hone/distributed/nccl_communicator.hpp"
#include "hone/distributed/watched_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/split_training.hpp"

namespace hone::testing {
namespace {

class NcclLaw : public ::testing::TestWithParam<const char*> {
 protected:
  FixtureModel model_{config_named(GetParam()), Fill::Random, /*seed=*/3};
};

TEST_P(NcclLaw, UpdatesInFloat64) {
  distributed::MpiCommunicator host;
  distributed::FlightRecorder recorder;
  FakeDevice device;
  distributed::WatchedCommunicator watched{
      std::make_unique<distributed::NcclCommunicator>(fake_nccl(), device, host), recorder};
  expect_updates_independent_of_split(model_.folder(), host, &watched);
  EXPECT_GT(device.num_joins(), 0);
}

INSTANTIATE_TEST_SUITE_P(Families, NcclLaw, ::testing::Values("llama", "gpt2"),
                         [](const auto& info) { return std::string{info.param}; });

}  // namespace
}  // namespace hone::testing

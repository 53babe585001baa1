// N ranks compute what one rank computes: ranks as processes. Each rank computes the one-rank
// reference by itself, so nothing is stored and nothing passes because all ranks are wrong alike.
#include <gtest/gtest.h>

#include "hone/distributed/mpi_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/golden_families.hpp"
#include "support/split_training.hpp"

namespace hone::testing {
namespace {

class MpiLaw : public ::testing::TestWithParam<const char*> {
 protected:
  FixtureModel model_{config_named(GetParam()), Fill::Random, /*seed=*/3};
  distributed::MpiCommunicator comm_;
};

TEST_P(MpiLaw, UpdatesInFloat64) { expect_updates_independent_of_split(model_.folder(), comm_); }

TEST_P(MpiLaw, GradientsInFloat32) {
  expect_gradients_independent_of_split(model_.folder(), comm_);
}

TEST(MpiGolden, OneUpdateACall) {
  distributed::MpiCommunicator comm;
  expect_one_update_a_call(comm);
}

/// A third of the golden models; golden_test has all of them on threads.
TEST(MpiGolden, FourUpdates) {
  distributed::MpiCommunicator comm;
  for (const auto& family : golden_families()) {
    if (family.name != "llama" && family.name != "t5_gated") continue;
    SCOPED_TRACE(family.name);
    expect_golden_updates(family, comm);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, MpiLaw, ::testing::Values("llama", "gpt2", "t5_dropout"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace hone::testing

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hone/core/error.hpp"
#include "hone/distributed/communicator_factory.hpp"
#include "hone/distributed/mpi_communicator.hpp"

namespace hone::distributed {
namespace {

TEST(ParseBackend, TakesHuggingFacesNamesAndOurs) {
  EXPECT_EQ(parse_backend("auto"), Backend::Auto);
  EXPECT_EQ(parse_backend("loopback"), Backend::Loopback);
  EXPECT_EQ(parse_backend("mpi"), Backend::Mpi);
  EXPECT_EQ(parse_backend("gloo"), Backend::Mpi);
  EXPECT_EQ(parse_backend("nccl"), Backend::Nccl);
}

TEST(ParseBackend, AnUnknownNameIsAnsweredWithTheChoices) {
  for (const char* name : {"", "MPI", "ccl"}) {
    try {
      parse_backend(name);
      ADD_FAILURE() << name;
    } catch (const ConfigError& error) {
      EXPECT_THAT(error.what(), ::testing::AllOf(::testing::HasSubstr("ddp_backend"),
                                                 ::testing::HasSubstr("auto, loopback, mpi, gloo"),
                                                 ::testing::HasSubstr("nccl")));
    }
  }
}

TEST(MpiCommunicator, WithoutMpiSaysWhatIsMissing) {
  try {
    MpiCommunicator comm;
    ADD_FAILURE();
  } catch (const LaunchError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("MpiEnvironment"));
  }
}

}  // namespace
}  // namespace hone::distributed

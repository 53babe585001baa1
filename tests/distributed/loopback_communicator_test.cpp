#include "hone/distributed/loopback_communicator.hpp"

#include "distributed/communicator_contract.hpp"

namespace hone::testing {

INSTANTIATE_TEST_SUITE_P(Loopback, CommunicatorContract,
                         ::testing::Values(World{"loopback", 1, [](const auto& body) {
                                                   distributed::LoopbackCommunicator comm;
                                                   body(comm);
                                                 }}));

TEST(LoopbackCommunicator, AbortMakesLaterCallsThrowWithTheFirstExitCode) {
  distributed::LoopbackCommunicator comm;
  comm.abort(75);
  comm.abort(70);
  const auto [message, code] = error_of([&] { comm.barrier(); });
  EXPECT_EQ(code, ExitCode::Stopped);
  EXPECT_NE(message.find("75"), std::string::npos) << message;
  EXPECT_THROW(all_true(comm, true), CommunicatorError);
  EXPECT_THROW(comm.all_gather_bytes({}), CommunicatorError);
}

}  // namespace hone::testing

#include "hone/distributed/device_sharing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hone/core/error.hpp"
#include "hone/distributed/thread_world.hpp"

namespace hone::distributed {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

/// What each rank was told, by rank; empty where it may go on.
std::vector<std::string> verdicts(const std::vector<std::string>& uuids, bool allowed) {
  std::vector<std::string> messages(uuids.size());
  ThreadWorld{static_cast<int>(uuids.size())}.run([&](Communicator& comm) {
    const auto rank = static_cast<std::size_t>(comm.rank());
    try {
      const bool shared = devices_are_shared(comm, uuids[rank], allowed);
      EXPECT_EQ(shared, allowed);
    } catch (const LaunchError& error) {
      messages[rank] = error.what();
    }
  });
  return messages;
}

TEST(DeviceSharing, Row38_TwoRanksOnOneDeviceAreRefusedUnlessAllowed) {
  EXPECT_THAT(verdicts({"GPU-a", "GPU-b", "GPU-a"}, false),
              Each(AllOf(HasSubstr("ranks 0 and 2"), HasSubstr("GPU-a"), HasSubstr("--allow_shared_device"))));
  EXPECT_THAT(verdicts({"GPU-a", "GPU-b", "GPU-a"}, true), Each(""));
}

TEST(DeviceSharing, DevicesOfTheirOwnAndCpusAreFine) {
  EXPECT_THAT(verdicts({"GPU-a", "GPU-b"}, false), Each(""));
  EXPECT_THAT(verdicts({"", "", ""}, false), Each(""));
}

}  // namespace
}  // namespace hone::distributed

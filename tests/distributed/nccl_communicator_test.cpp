#include "hone/distributed/nccl_communicator.hpp"

#include <gmock/gmock.h>

#include "distributed/nccl_world.hpp"

namespace hone::testing {
namespace {

using distributed::ThreadWorld;
using ::testing::TestParamInfo;
using ::testing::Values;

World threads(int num_ranks) {
  return nccl_world(num_ranks, [num_ranks](const auto& body) { ThreadWorld{num_ranks}.run(body); });
}

INSTANTIATE_TEST_SUITE_P(NcclOnThreads, CommunicatorContract,
                         Values(threads(1), threads(2), threads(3), threads(4)),
                         [](const TestParamInfo<World>& info) {
                           return std::to_string(info.param.num_ranks) + "Ranks";
                         });

}  // namespace
}  // namespace hone::testing

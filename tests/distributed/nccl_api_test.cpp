#include "hone/distributed/nccl_api.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "hone/core/error.hpp"

namespace hone::distributed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string refusal(const std::string& path) {
  try {
    load_nccl(path);
  } catch (const LaunchError& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::Environment);
    return error.what();
  }
  ADD_FAILURE() << path << " was taken";
  return {};
}

TEST(LoadNccl, FillsTheWholeTable) {
  const NcclApi api = load_nccl(HONE_NCCL_COMPLETE);
  EXPECT_EQ(api.version, 22105);
  NcclUniqueId id{};
  EXPECT_EQ(api.get_unique_id(&id), NcclResult::Success);
  EXPECT_EQ(id.bytes[127], 7);
  NcclConfig config;
  NcclComm comm = nullptr;
  EXPECT_EQ(api.comm_init_rank_config(&comm, 1, id, 0, &config), NcclResult::InProgress);
  EXPECT_STREQ(api.get_error_string(NcclResult::RemoteError), "fake error");
  NcclResult error = NcclResult::InProgress;
  EXPECT_EQ(api.comm_get_async_error(comm, &error), NcclResult::Success);
  EXPECT_EQ(error, NcclResult::Success);
  EXPECT_NE(api.comm_finalize, nullptr);
  EXPECT_NE(api.comm_destroy, nullptr);
  EXPECT_NE(api.comm_abort, nullptr);
  EXPECT_NE(api.get_last_error, nullptr);
  EXPECT_NE(api.group_start, nullptr);
  EXPECT_NE(api.group_end, nullptr);
  EXPECT_NE(api.all_reduce, nullptr);
  EXPECT_NE(api.broadcast, nullptr);
  EXPECT_NE(api.all_gather, nullptr);
  EXPECT_NE(api.reduce_scatter, nullptr);
}

TEST(LoadNccl, ACopyOfTheTableKeepsTheLibraryLoaded) {
  NcclApi copy;
  {
    const NcclApi api = load_nccl(HONE_NCCL_COMPLETE);
    copy = api;
  }
  EXPECT_STREQ(copy.get_error_string(NcclResult::Success), "no error");
}

TEST(LoadNccl, NamesEveryMissingFunction) {
  EXPECT_THAT(refusal(HONE_NCCL_INCOMPLETE),
              AllOf(HasSubstr("ncclCommInitRankConfig"), HasSubstr("ncclReduceScatter"),
                    Not(HasSubstr("ncclAllReduce")), HasSubstr(HONE_NCCL_INCOMPLETE)));
}

TEST(LoadNccl, NamesTheVersionThatIsTooOld) {
  EXPECT_THAT(refusal(HONE_NCCL_OLD), AllOf(HasSubstr("2.10.3"), HasSubstr("2.14.0 or later")));
}

TEST(LoadNccl, ReadsTheVersionNumbersOfBefore29) {
  EXPECT_THAT(refusal(HONE_NCCL_ANCIENT), HasSubstr("2.7.8"));
}

TEST(LoadNccl, ALibraryThatIsNotThereOrNotNcclIsNamed) {
  EXPECT_THAT(refusal("/nowhere/libnccl.so.2"), HasSubstr("/nowhere/libnccl.so.2"));
  EXPECT_THAT(refusal("libm.so.6"), AllOf(HasSubstr("ncclGetVersion"), HasSubstr("libm.so.6")));
}

}  // namespace
}  // namespace hone::distributed

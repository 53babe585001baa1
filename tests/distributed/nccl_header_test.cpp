// Our declarations of NCCL's interface against those of a real nccl.h: whatever differs does not
// compile.

#include <nccl.h>

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <string>
#include <type_traits>

#include "fakes/fake_nccl/fake_device.hpp"
#include "hone/core/error.hpp"
#include "hone/distributed/nccl_api.hpp"
#include "hone/distributed/nccl_communicator.hpp"
#include "hone/distributed/thread_world.hpp"

namespace hone::distributed {
namespace {

template <auto kOurs, auto kTheirs>
constexpr bool same = static_cast<int>(kOurs) == static_cast<int>(kTheirs);

static_assert(sizeof(NcclResult) == sizeof(ncclResult_t));
static_assert(same<NcclResult::Success, ncclSuccess>);
static_assert(same<NcclResult::UnhandledCudaError, ncclUnhandledCudaError>);
static_assert(same<NcclResult::SystemError, ncclSystemError>);
static_assert(same<NcclResult::InternalError, ncclInternalError>);
static_assert(same<NcclResult::InvalidArgument, ncclInvalidArgument>);
static_assert(same<NcclResult::InvalidUsage, ncclInvalidUsage>);
static_assert(same<NcclResult::RemoteError, ncclRemoteError>);
static_assert(same<NcclResult::InProgress, ncclInProgress>);

static_assert(sizeof(NcclDataType) == sizeof(ncclDataType_t));
static_assert(same<NcclDataType::UInt8, ncclUint8>);
static_assert(same<NcclDataType::Int64, ncclInt64>);
static_assert(same<NcclDataType::Float16, ncclFloat16>);
static_assert(same<NcclDataType::Float32, ncclFloat32>);
static_assert(same<NcclDataType::Float64, ncclFloat64>);
static_assert(same<NcclDataType::BFloat16, ncclBfloat16>);

static_assert(sizeof(NcclReduceOp) == sizeof(ncclRedOp_t));
static_assert(same<NcclReduceOp::Sum, ncclSum>);
static_assert(same<NcclReduceOp::Max, ncclMax>);
static_assert(same<NcclReduceOp::Min, ncclMin>);

static_assert(sizeof(NcclUniqueId) == sizeof(ncclUniqueId));
static_assert(alignof(NcclUniqueId) == alignof(ncclUniqueId));

// NCCL copies min(size, its own size) bytes and takes defaults for what came after `version`: the
// first fields must lie where they did in 2.14, and the others must begin behind them. What 2.14
// did not have may overlap the padding at our end; it is younger than `version`, so NCCL sets it
// anew.
static_assert(offsetof(NcclConfig, size) == offsetof(ncclConfig_t, size));
static_assert(offsetof(NcclConfig, magic) == offsetof(ncclConfig_t, magic));
static_assert(offsetof(NcclConfig, version) == offsetof(ncclConfig_t, version));
static_assert(offsetof(NcclConfig, blocking) == offsetof(ncclConfig_t, blocking));
static_assert(offsetof(ncclConfig_t, cgaClusterSize) ==
              offsetof(NcclConfig, blocking) + sizeof(NcclConfig::blocking));
static_assert(sizeof(NcclConfig) <= offsetof(ncclConfig_t, minCTAs));
static_assert(NcclConfig{}.magic == NCCL_API_MAGIC);
static_assert(NcclConfig{}.version == NCCL_VERSION(2, 14, 0));
static_assert(kMinNcclVersion == NCCL_VERSION(2, 14, 0));

/// Ours for each of their types, as the ABI passes them.
template <typename Theirs>
struct OursFor {
  using Type = Theirs;
};
template <> struct OursFor<ncclResult_t> { using Type = NcclResult; };
template <> struct OursFor<ncclResult_t*> { using Type = NcclResult*; };
template <> struct OursFor<ncclDataType_t> { using Type = NcclDataType; };
template <> struct OursFor<ncclRedOp_t> { using Type = NcclReduceOp; };
template <> struct OursFor<ncclUniqueId> { using Type = NcclUniqueId; };
template <> struct OursFor<ncclUniqueId*> { using Type = NcclUniqueId*; };
template <> struct OursFor<ncclConfig_t*> { using Type = NcclConfig*; };
template <> struct OursFor<ncclComm_t> { using Type = NcclComm; };
template <> struct OursFor<ncclComm_t*> { using Type = NcclComm*; };
template <> struct OursFor<cudaStream_t> { using Type = NcclStream; };

template <typename Result, typename... Arguments>
auto ours_for(Result (*)(Arguments...)) -> typename OursFor<Result>::Type (*)(
    typename OursFor<Arguments>::Type...);

#define SAME_FUNCTION(member, function) \
  static_assert(std::is_same_v<decltype(NcclApi::member), decltype(ours_for(&function))>)

SAME_FUNCTION(get_unique_id, ncclGetUniqueId);
SAME_FUNCTION(comm_init_rank_config, ncclCommInitRankConfig);
SAME_FUNCTION(comm_finalize, ncclCommFinalize);
SAME_FUNCTION(comm_destroy, ncclCommDestroy);
SAME_FUNCTION(comm_abort, ncclCommAbort);
SAME_FUNCTION(comm_get_async_error, ncclCommGetAsyncError);
SAME_FUNCTION(get_error_string, ncclGetErrorString);
SAME_FUNCTION(get_last_error, ncclGetLastError);
SAME_FUNCTION(group_start, ncclGroupStart);
SAME_FUNCTION(group_end, ncclGroupEnd);
SAME_FUNCTION(all_reduce, ncclAllReduce);
SAME_FUNCTION(broadcast, ncclBroadcast);
SAME_FUNCTION(all_gather, ncclAllGather);
SAME_FUNCTION(reduce_scatter, ncclReduceScatter);

TEST(NcclHeader, OurDeclarationsAreThoseOfTheRealOne) {
  // That this file compiles is the test; it runs so that the list of tests says which header it
  // was.
  RecordProperty("nccl", NCCL_VERSION_CODE);
  SUCCEED() << "compiled against NCCL " << NCCL_MAJOR << '.' << NCCL_MINOR << '.' << NCCL_PATCH;
}

TEST(NcclLibrary, TheRealOneIsTakenAndKnowsItsErrors) {
  const NcclApi api = load_nccl(HONE_REAL_NCCL);  // throws where a function is missing
  EXPECT_EQ(api.version, NCCL_VERSION_CODE);
  EXPECT_STREQ(api.get_error_string(NcclResult::Success), "no error");
  EXPECT_STREQ(api.get_error_string(NcclResult::RemoteError),
               "remote process exited or there was a network error");
}

TEST(NcclLibrary, WithoutADriverEveryRankHearsNcclsReason) {
  if (std::filesystem::exists("/dev/nvidiactl")) GTEST_SKIP() << "there is a driver";
  const NcclApi api = load_nccl(HONE_REAL_NCCL);
  std::atomic<int> num_told{0};
  ThreadWorld{2}.run([&](Communicator& host) {
    testing::FakeDevice device;
    try {
      const NcclCommunicator comm{api, device, host};
    } catch (const LaunchError& error) {
      EXPECT_NE(std::string{error.what()}.find(
                    "rank 0, 1: ncclCommInitRankConfig: unhandled cuda error"),
                std::string::npos)
          << error.what();
      ++num_told;
    }
  });
  EXPECT_EQ(num_told, 2);
}

}  // namespace
}  // namespace hone::distributed

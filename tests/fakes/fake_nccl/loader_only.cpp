// A library with NCCL's symbols for the loader's tests: it answers with its version and nothing
// else. FAKE_NCCL_VERSION is what ncclGetVersion tells; FAKE_NCCL_INCOMPLETE leaves two functions
// out.

#include "hone/distributed/nccl_api.hpp"

using hone::distributed::NcclComm;
using hone::distributed::NcclConfig;
using hone::distributed::NcclDataType;
using hone::distributed::NcclReduceOp;
using hone::distributed::NcclResult;
using hone::distributed::NcclStream;
using hone::distributed::NcclUniqueId;

extern "C" {

NcclResult ncclGetVersion(int* version) {
  *version = FAKE_NCCL_VERSION;
  return NcclResult::Success;
}

NcclResult ncclGetUniqueId(NcclUniqueId* id) {
  for (char& byte : id->bytes) byte = 7;
  return NcclResult::Success;
}

const char* ncclGetErrorString(NcclResult result) {
  return result == NcclResult::Success ? "no error" : "fake error";
}

const char* ncclGetLastError(NcclComm) { return ""; }

NcclResult ncclCommFinalize(NcclComm) { return NcclResult::Success; }
NcclResult ncclCommDestroy(NcclComm) { return NcclResult::Success; }
NcclResult ncclCommAbort(NcclComm) { return NcclResult::Success; }
NcclResult ncclCommGetAsyncError(NcclComm, NcclResult* error) {
  *error = NcclResult::Success;
  return NcclResult::Success;
}
NcclResult ncclGroupStart() { return NcclResult::Success; }
NcclResult ncclGroupEnd() { return NcclResult::Success; }
NcclResult ncclAllReduce(const void*, void*, std::size_t, NcclDataType, NcclReduceOp, NcclComm,
                         NcclStream) {
  return NcclResult::Success;
}
NcclResult ncclBroadcast(const void*, void*, std::size_t, NcclDataType, int, NcclComm, NcclStream) {
  return NcclResult::Success;
}
NcclResult ncclAllGather(const void*, void*, std::size_t, NcclDataType, NcclComm, NcclStream) {
  return NcclResult::Success;
}

#ifndef FAKE_NCCL_INCOMPLETE
NcclResult ncclCommInitRankConfig(NcclComm*, int, NcclUniqueId, int, NcclConfig* config) {
  return config->magic == 0xcafebeef ? NcclResult::InProgress : NcclResult::InvalidArgument;
}
NcclResult ncclReduceScatter(const void*, void*, std::size_t, NcclDataType, NcclReduceOp, NcclComm,
                             NcclStream) {
  return NcclResult::Success;
}
#endif

}  // extern "C"

#pragma once

#include <cstddef>
#include <filesystem>

namespace hone::distributed {

// NCCL's C interface in our own declarations, so that every build can talk to any NCCL that it
// finds at run time, and tests to a fake one. Values and layouts are those of nccl.h; they are part
// of NCCL's ABI and have not changed since the oldest version taken here.

enum class NcclResult : int {
  Success = 0,
  UnhandledCudaError = 1,
  SystemError = 2,
  InternalError = 3,
  InvalidArgument = 4,
  InvalidUsage = 5,
  RemoteError = 6,
  InProgress = 7,
};

enum class NcclDataType : int {
  UInt8 = 1,
  Int64 = 4,
  Float16 = 6,
  Float32 = 7,
  Float64 = 8,
  BFloat16 = 9,
};

enum class NcclReduceOp : int { Sum = 0, Max = 2, Min = 3 };

/// Identifies one communicator to its future ranks: made by one of them, sent to the others.
struct NcclUniqueId {
  char bytes[128];
};

using NcclComm = struct NcclCommOpaque*;      ///< ncclComm_t
using NcclStream = struct NcclStreamOpaque*;  ///< cudaStream_t

/// The leading, oldest part of ncclConfig_t; NCCL reads as much of it as `size` and `version` say.
struct NcclConfig {
  std::size_t size = sizeof(NcclConfig);
  unsigned int magic = 0xcafebeef;
  unsigned int version = 21400;
  int blocking = 0;  ///< 0: calls may return InProgress and are polled, so that they can be aborted
};

/// The NCCL functions that a communicator needs, from one loaded library.
/// Ownership: shares the library; it stays loaded as long as any copy of the table lives.
/// Thread-safety: as NCCL's own functions.
struct NcclApi {
  NcclResult (*get_unique_id)(NcclUniqueId* id) = nullptr;
  NcclResult (*comm_init_rank_config)(NcclComm* comm, int num_ranks, NcclUniqueId id, int rank,
                                      NcclConfig* config) = nullptr;
  NcclResult (*comm_finalize)(NcclComm comm) = nullptr;
  NcclResult (*comm_destroy)(NcclComm comm) = nullptr;
  NcclResult (*comm_abort)(NcclComm comm) = nullptr;
  NcclResult (*comm_get_async_error)(NcclComm comm, NcclResult* error) = nullptr;
  const char* (*get_error_string)(NcclResult result) = nullptr;
  const char* (*get_last_error)(NcclComm comm) = nullptr;
  NcclResult (*group_start)() = nullptr;
  NcclResult (*group_end)() = nullptr;
  NcclResult (*all_reduce)(const void* send, void* receive, std::size_t count, NcclDataType type,
                           NcclReduceOp op, NcclComm comm, NcclStream stream) = nullptr;
  NcclResult (*broadcast)(const void* send, void* receive, std::size_t count, NcclDataType type,
                          int root, NcclComm comm, NcclStream stream) = nullptr;
  NcclResult (*all_gather)(const void* send, void* receive, std::size_t send_count,
                           NcclDataType type, NcclComm comm, NcclStream stream) = nullptr;
  NcclResult (*reduce_scatter)(const void* send, void* receive, std::size_t receive_count,
                               NcclDataType type, NcclReduceOp op, NcclComm comm,
                               NcclStream stream) = nullptr;

  int version = 0;  ///< as ncclGetVersion: 22105 is 2.21.5
};

/// The oldest NCCL that is taken: 2.14 brought non-blocking communicators, without which a hang
/// could not be aborted.
inline constexpr int kMinNcclVersion = 21400;

/// Loads an NCCL library for the rest of the process ("libnccl.so.2" is searched as dlopen does, a
/// path is taken as it is).
/// Throws: LaunchError where it cannot be loaded, lacks functions (all are named) or is too old.
NcclApi load_nccl(const std::filesystem::path& path);

}  // namespace hone::distributed

// The C interface of the fake NCCL; README.md says what it does.

#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "fake_comm.hpp"
#include "reduction.hpp"

using hone::distributed::NcclComm;
using hone::distributed::NcclConfig;
using hone::distributed::NcclDataType;
using hone::distributed::NcclReduceOp;
using hone::distributed::NcclResult;
using hone::distributed::NcclStream;
using hone::distributed::NcclUniqueId;
using hone::testing::CallGuard;
using hone::testing::FakeComm;
using hone::testing::FakeStream;
using hone::testing::FaultKind;
using hone::testing::Operation;
using hone::testing::Script;
using hone::testing::violation;

namespace {

thread_local int group_depth = 0;
thread_local FakeComm* group_comm = nullptr;
thread_local NcclResult group_error = NcclResult::Success;

FakeComm* fake(NcclComm comm) { return reinterpret_cast<FakeComm*>(comm); }

Script script() {
  const char* text = std::getenv("FAKENCCL");
  return Script{text != nullptr ? text : ""};
}

/// Keeps every communicator of the process for good, so that use after its end finds one that says
/// so.
FakeComm* keep(std::unique_ptr<FakeComm> comm) {
  static auto& mutex = *new std::mutex;
  static auto& all = *new std::vector<std::unique_ptr<FakeComm>>;
  const std::lock_guard lock{mutex};
  return all.emplace_back(std::move(comm)).get();
}

void require_no_group(const char* function) {
  if (group_depth > 0) violation(std::string{function} + " while a group is open");
}

NcclResult collective(const char* function, Operation operation, NcclComm comm, NcclStream stream) {
  const CallGuard guard{fake(comm), function};
  if (stream == nullptr) violation(std::string{function} + " without a stream");
  if (operation.signature.count == 0) return NcclResult::Success;
  if (operation.send == nullptr || operation.receive == nullptr) {
    violation(std::string{function} + " without a buffer");
  }
  operation.stream = reinterpret_cast<FakeStream*>(stream);
  const auto result = fake(comm)->add(std::move(operation), group_depth > 0);
  if (group_depth > 0) {
    group_comm = fake(comm);
    if (result != NcclResult::Success) group_error = result;
  }
  return result;
}

Operation make(Operation::Kind kind, const void* send, void* receive, std::size_t count,
               NcclDataType type, NcclReduceOp op = NcclReduceOp::Sum, int root = 0) {
  return {.signature = {kind, count, type, op, root},
          .send = static_cast<const std::byte*>(send),
          .receive = static_cast<std::byte*>(receive)};
}

/// In place means one exact place; any other overlap is overwritten while it is read.
void require_place(const char* function, const std::byte* part, const std::byte* whole,
                   std::size_t block, NcclComm comm) {
  const auto size = static_cast<std::size_t>(fake(comm)->size());
  const auto own = static_cast<std::size_t>(fake(comm)->rank()) * block;
  if (part + block <= whole || part >= whole + size * block || part == whole + own) return;
  violation(std::string{function} + ": the buffers overlap, but not in this rank's block");
}

}  // namespace

extern "C" {

NcclResult ncclGetVersion(int* version) {
  *version = 22105;
  return NcclResult::Success;
}

NcclResult ncclGetUniqueId(NcclUniqueId* id) {
  const auto fault = script().at(0, "id");
  if (fault.kind == FaultKind::Error) return fault.error;
  *id = hone::testing::SharedWorld::make_id();
  return NcclResult::Success;
}

NcclResult ncclCommInitRankConfig(NcclComm* comm, int num_ranks, NcclUniqueId id, int rank,
                                  NcclConfig* config) {
  require_no_group("ncclCommInitRankConfig");
  if (config->magic != 0xcafebeef) violation("the configuration's magic number is wrong");
  if (config->size != sizeof(NcclConfig)) violation("the configuration's size is not NCCL 2.14's");
  if (config->version != 21400) violation("the configuration's version is not the size's");
  if (config->blocking != 0) violation("a blocking communicator cannot be aborted");
  if (num_ranks < 1 || num_ranks > hone::testing::SharedWorld::kMaxRanks || rank < 0 ||
      rank >= num_ranks) {
    violation("rank " + std::to_string(rank) + " of " + std::to_string(num_ranks));
  }
  *comm = nullptr;
  const auto fault = script().at(rank, "init");
  if (fault.kind == FaultKind::Error) return fault.error;
  while (fault.kind == FaultKind::Block) std::this_thread::sleep_for(std::chrono::seconds{1});
  *comm = reinterpret_cast<NcclComm>(keep(std::make_unique<FakeComm>(id, rank, num_ranks)));
  return NcclResult::InProgress;
}

NcclResult ncclCommFinalize(NcclComm comm) {
  const CallGuard guard{fake(comm), "ncclCommFinalize"};
  require_no_group("ncclCommFinalize");
  return fake(comm)->finalize();
}

NcclResult ncclCommDestroy(NcclComm comm) {
  const CallGuard guard{fake(comm), "ncclCommDestroy"};
  return fake(comm)->destroy();
}

NcclResult ncclCommAbort(NcclComm comm) {
  {
    const CallGuard guard{fake(comm), "ncclCommAbort"};
  }
  return fake(comm)->abort();  // not guarded: later calls must find the end, not this call
}

NcclResult ncclCommGetAsyncError(NcclComm comm, NcclResult* error) {
  const CallGuard guard{fake(comm), "ncclCommGetAsyncError"};
  *error = fake(comm)->async_error();
  return NcclResult::Success;
}

const char* ncclGetErrorString(NcclResult result) {
  switch (result) {
    case NcclResult::Success: return "no error";
    case NcclResult::UnhandledCudaError: return "unhandled cuda error";
    case NcclResult::SystemError: return "unhandled system error";
    case NcclResult::InternalError: return "internal error";
    case NcclResult::InvalidArgument: return "invalid argument";
    case NcclResult::InvalidUsage: return "invalid usage";
    case NcclResult::RemoteError: return "remote process exited or there was a network error";
    case NcclResult::InProgress: return "NCCL operation in progress";
  }
  return "unknown result code";
}

const char* ncclGetLastError(NcclComm comm) {
  const CallGuard guard{fake(comm), "ncclGetLastError"};
  return "the fake's last words";
}

NcclResult ncclGroupStart() {
  ++group_depth;
  return NcclResult::Success;
}

NcclResult ncclGroupEnd() {
  if (group_depth == 0) violation("ncclGroupEnd without ncclGroupStart");
  if (--group_depth > 0) return NcclResult::Success;
  auto* comm = std::exchange(group_comm, nullptr);
  const auto error = std::exchange(group_error, NcclResult::Success);
  if (comm == nullptr) return NcclResult::Success;
  const CallGuard guard{comm, "ncclGroupEnd"};
  const auto result = comm->end_group();
  return error != NcclResult::Success ? error : result;
}

NcclResult ncclAllReduce(const void* send, void* receive, std::size_t count, NcclDataType type,
                         NcclReduceOp op, NcclComm comm, NcclStream stream) {
  return collective("ncclAllReduce", make(Operation::AllReduce, send, receive, count, type, op),
                    comm, stream);
}

NcclResult ncclBroadcast(const void* send, void* receive, std::size_t count, NcclDataType type,
                         int root, NcclComm comm, NcclStream stream) {
  return collective(
      "ncclBroadcast",
      make(Operation::Broadcast, send, receive, count, type, NcclReduceOp::Sum, root), comm,
      stream);
}

NcclResult ncclAllGather(const void* send, void* receive, std::size_t count, NcclDataType type,
                         NcclComm comm, NcclStream stream) {
  auto operation = make(Operation::AllGather, send, receive, count, type);
  require_place("ncclAllGather", operation.send, operation.receive,
                count * hone::testing::element_bytes(type), comm);
  return collective("ncclAllGather", std::move(operation), comm, stream);
}

NcclResult ncclReduceScatter(const void* send, void* receive, std::size_t count, NcclDataType type,
                             NcclReduceOp op, NcclComm comm, NcclStream stream) {
  auto operation = make(Operation::ReduceScatter, send, receive, count, type, op);
  require_place("ncclReduceScatter", operation.receive, operation.send,
                count * hone::testing::element_bytes(type), comm);
  return collective("ncclReduceScatter", std::move(operation), comm, stream);
}

}  // extern "C"

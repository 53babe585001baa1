#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/distributed/collective_call.hpp"
#include "hone/distributed/device.hpp"
#include "hone/distributed/nccl_api.hpp"

namespace hone::distributed {

namespace detail {
class NcclHandle;
}  // namespace detail

/// How long NCCL may take. Whatever takes longer has failed.
struct NcclTimes {
  std::chrono::milliseconds init{120'000};
  std::chrono::milliseconds collective{1'800'000};  ///< --ddp_timeout
  std::chrono::milliseconds close{120'000};
  std::chrono::milliseconds abort{5'000};  ///< then the aborting thread is left to itself
  std::chrono::microseconds spin{1000};  ///< before the first pause between two looks
  std::chrono::microseconds poll_interval{50};
};

/// GPUs over NCCL. Buffers are in the device's memory and reduced there; bytes of the host and
/// barriers go over `host`, another communicator of the same ranks.
///
/// Collectives are queued on the device's communication stream. NCCL is non-blocking, and its
/// errors and the stream are polled to a deadline: no rank waits for ever for a peer that is gone
/// or out of step. At the first failure NCCL is aborted and never called again, and all later
/// collectives throw.
///
/// Other than every communicator on host memory, NCCL promises nothing for Min and Max of floats
/// where an operand is NaN or zeros differ in sign (it takes fminf and fmaxf, which drop a NaN).
/// Sums have NaN wherever an operand has it. 16-bit floats are rounded after each addition.
///
/// Ownership: `device` and `host` outlive it.
/// Collective: construction and close().
/// Thread-safety: one thread at a time.
/// Throws: CommunicatorError with rank, number, operation and NCCL's text; exit code 75 (run again
/// to resume) but for calls that NCCL finds wrong (70). Arguments that no communicator takes are
/// refused before anything is communicated.
class NcclCommunicator final : public Communicator {
 public:
  /// Throws: LaunchError on every rank where NCCL cannot be initialised on one, naming what each
  /// rank saw.
  NcclCommunicator(const NcclApi& api, Device& device, Communicator& host,
                   const NcclTimes& times = {});
  /// Aborts NCCL unless it was closed; for at most `times.abort`.
  ~NcclCommunicator() override;

  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int rank() const override { return host_.rank(); }
  int size() const override { return host_.size(); }
  std::string_view backend() const override { return "nccl"; }

  void all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) override;
  void reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) override;
  void all_gather(void* data, std::int64_t block, DType dtype) override;
  /// In groups of NCCL's, as large as it takes: launched at once, and waited for once.
  void all_gathers(std::span<const RankBlocks> all) override;
  void broadcast(void* data, std::int64_t count, DType dtype, int root) override;
  std::vector<std::vector<std::byte>> all_gather_bytes(std::span<const std::byte> mine) override;
  std::vector<std::vector<std::byte>> all_to_all_bytes(
      std::span<const std::vector<std::byte>> to) override;
  void barrier() override;

  /// What is started begins when what is queued for computing now is done.
  void start_all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) override;
  void start_reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) override;
  /// Returns when all that was started is done; computing from now on sees the results.
  void wait() override;
  bool is_asynchronous() const override { return true; }

  /// Waits, then frees NCCL's resources on all ranks; afterwards every collective throws. Without
  /// effect after a failure or a second time.
  void close();

  /// Aborts NCCL here, then ends the job as `host` does.
  void abort(int exit_code) override;

 private:
  void accept(const CollectiveCall& call, const void* data) const;
  void require_open(const std::string& what) const;
  void begin(const CollectiveCall& call);
  void start_queueing();
  template <typename Queue>
  void start(const CollectiveCall& call, const void* data, std::string_view function, Queue queue);
  void queue_all_gathers(std::span<const RankBlocks> group);
  NcclResult queue_all_gather(const NcclApi& api, NcclComm comm, const RankBlocks& blocks);
  template <typename Function>
  void run_on_host(const CollectiveCall& call, Function function);
  /// Runs `function`; where it throws, aborts NCCL and throws what pending collectives failed with.
  template <typename Function>
  void guarded(Function function);
  std::string pending_text() const;

  Device& device_;
  Communicator& host_;
  NcclTimes times_;
  std::unique_ptr<detail::NcclHandle> nccl_;
  std::vector<CollectiveCall> pending_;  ///< begun and not known to be done, oldest first
  std::int64_t sequence_ = 0;            ///< collectives begun
  std::string end_;                      ///< why no collective is taken; empty while they are
  ExitCode end_code_ = ExitCode::Internal;  ///< of what ended it
};

}  // namespace hone::distributed

#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "fake_stream.hpp"
#include "script.hpp"
#include "shared_world.hpp"

namespace hone::testing {

/// One collective, as a rank called it.
struct Operation {
  enum Kind : int { AllReduce, ReduceScatter, AllGather, Broadcast };

  Signature signature;
  const std::byte* send = nullptr;
  std::byte* receive = nullptr;
  FakeStream* stream = nullptr;
  std::int64_t number = 0;        ///< of this communicator's collectives, from 1
  bool begun = false;
  std::vector<std::byte> input;   ///< what `send` had when it began, before `receive` was poisoned
};

/// Byte sizes of a collective among `size` ranks.
std::size_t input_bytes(const Signature& signature, int size);
std::size_t output_bytes(const Signature& signature, int size);

/// What an ncclComm_t points to, also after its end.
///
/// Thread-safety: as NCCL's, one call at a time, which CallGuard checks.
class FakeComm {
 public:
  FakeComm(const distributed::NcclUniqueId& id, int rank, int size);

  int rank() const { return rank_; }
  int size() const { return size_; }

  /// The collective's place in the script and its answer; it waits in the open group if there is
  /// one.
  distributed::NcclResult add(Operation operation, bool in_group);
  distributed::NcclResult end_group();
  distributed::NcclResult async_error();
  distributed::NcclResult finalize();
  distributed::NcclResult destroy();
  distributed::NcclResult abort();

  /// Sets the error that the communicator has from now on.
  void set_error(distributed::NcclResult error);

 private:
  friend class CallGuard;
  enum class Life : std::uint8_t { Joining, Open, Finalizing, Finalized, Ended };

  void launch(Operation operation);
  void begin(Operation& operation) const;
  void require_ready(const std::string& function);
  void end_worker();

  // The worker thread. A false result: the communicator was given up meanwhile.
  void work();
  void join_world();
  void finish_world();
  std::optional<Operation> next_operation();
  void execute(Operation& operation);
  bool all_agree(const Signature& signature);
  bool move_data(const Operation& operation, std::vector<std::byte>& output);
  void take_pieces(const Signature& call, std::size_t first, std::size_t length,
                   std::vector<std::byte>& output);
  static void corrupt(std::vector<std::byte>& output);
  void hang();
  void finish(Operation& operation, const std::vector<std::byte>& output);

  const distributed::NcclUniqueId id_;
  const int rank_;
  const int size_;
  const Script script_;
  std::optional<SharedWorld> world_;

  std::atomic<int> num_callers_{0};
  std::atomic<bool> given_up_{false};
  std::mutex mutex_;  ///< of what follows
  std::condition_variable changed_;
  Life life_ = Life::Joining;
  distributed::NcclResult error_ = distributed::NcclResult::Success;
  std::deque<Operation> queue_;
  std::vector<FakeStream*> unseen_launches_;  ///< launched, while the caller still gets InProgress
  int polls_to_go_ = 0;
  int num_outstanding_ = 0;  ///< launched and not finished
  std::vector<Operation> group_;
  std::int64_t num_operations_ = 0;
  std::jthread worker_;
};

/// One API call on a communicator: ends the process where it comes after the end, or beside
/// another.
class CallGuard {
 public:
  CallGuard(FakeComm* comm, const std::string& function);
  ~CallGuard() { --comm_.num_callers_; }
  CallGuard(const CallGuard&) = delete;
  CallGuard& operator=(const CallGuard&) = delete;

 private:
  FakeComm& comm_;
};

}  // namespace hone::testing

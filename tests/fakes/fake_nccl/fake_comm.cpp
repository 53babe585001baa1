#include "fake_comm.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "reduction.hpp"

namespace hone::testing {
namespace {

using distributed::NcclResult;

constexpr std::byte kPoison{0xFF};  // NaN in every floating type
constexpr int kPollsToLaunch = 2;
constexpr std::size_t kMaxGroup = 2048;  // what NCCL's documentation allows
constexpr std::chrono::microseconds kLate{50};  // between an operation's work and its end

[[noreturn]] void sleep_for_ever() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours{1});
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

void place(std::span<const std::byte> bytes, std::size_t first, std::vector<std::byte>& output) {
  std::ranges::copy(bytes, output.begin() + static_cast<std::ptrdiff_t>(first));
}

}  // namespace

std::size_t input_bytes(const Signature& signature, int size) {
  const bool all = signature.operation == Operation::ReduceScatter;
  return signature.count * element_bytes(signature.type) * static_cast<std::size_t>(all ? size : 1);
}

std::size_t output_bytes(const Signature& signature, int size) {
  const bool all = signature.operation == Operation::AllGather;
  return signature.count * element_bytes(signature.type) * static_cast<std::size_t>(all ? size : 1);
}

CallGuard::CallGuard(FakeComm* comm, const std::string& function)
    : comm_(comm != nullptr ? *comm : (violation(function + " without a communicator"), *comm)) {
  if (++comm_.num_callers_ > 1) violation(function + " while another thread is in a call");
  const std::lock_guard lock{comm_.mutex_};
  if (comm_.life_ == FakeComm::Life::Ended) {
    violation(function + " after ncclCommAbort or ncclCommDestroy");
  }
}

FakeComm::FakeComm(const distributed::NcclUniqueId& id, int rank, int size)
    : id_(id), rank_(rank), size_(size), script_(variable("FAKENCCL")) {
  world_.emplace(id, rank, size);
  worker_ = std::jthread{[this] { work(); }};
}

NcclResult FakeComm::add(Operation operation, bool in_group) {
  require_ready("a collective");
  operation.number = ++num_operations_;
  const auto fault = script_.at(rank_, "op" + std::to_string(operation.number));
  if (fault.kind == FaultKind::Error) {
    set_error(fault.error);
    return fault.error;
  }
  if (!operation.stream->after_computing) {
    violation("collective " + std::to_string(operation.number) +
              " does not wait for the computing stream");
  }
  if (in_group) {
    if (group_.size() == kMaxGroup) violation("a group of more than 2048 calls");
    group_.push_back(std::move(operation));
    return NcclResult::Success;
  }
  operation.stream->after_computing = false;
  launch(std::move(operation));
  return NcclResult::InProgress;
}

NcclResult FakeComm::end_group() {
  auto operations = std::exchange(group_, {});
  const auto fault = script_.at(rank_, "group");
  if (fault.kind == FaultKind::Error) set_error(fault.error);
  {
    const std::lock_guard lock{mutex_};
    if (error_ != NcclResult::Success) return error_;
  }
  for (auto& operation : operations) operation.stream->after_computing = false;
  for (auto& operation : operations) launch(std::move(operation));
  return NcclResult::InProgress;
}

void FakeComm::launch(Operation operation) {
  const std::lock_guard lock{mutex_};
  // Where others are still to be done, this one may work on what they leave behind.
  if (num_outstanding_++ == 0) begin(operation);
  unseen_launches_.push_back(operation.stream);
  polls_to_go_ = kPollsToLaunch;
  queue_.push_back(std::move(operation));
  changed_.notify_all();
}

void FakeComm::begin(Operation& operation) const {
  if (operation.begun) return;
  operation.begun = true;
  operation.input.assign(operation.send,
                         operation.send + input_bytes(operation.signature, size_));
  std::fill_n(operation.receive, output_bytes(operation.signature, size_), kPoison);
}

NcclResult FakeComm::async_error() {
  const std::lock_guard lock{mutex_};
  if (error_ != NcclResult::Success) return error_;
  if (life_ == Life::Joining || life_ == Life::Finalizing) return NcclResult::InProgress;
  if (unseen_launches_.empty()) return NcclResult::Success;
  if (--polls_to_go_ > 0) return NcclResult::InProgress;
  for (auto* stream : std::exchange(unseen_launches_, {})) ++stream->launched;
  return NcclResult::Success;
}

NcclResult FakeComm::finalize() {
  require_ready("ncclCommFinalize");
  const std::lock_guard lock{mutex_};
  const auto fault = script_.at(rank_, "finalize");
  if (fault.kind == FaultKind::Error) return error_ = fault.error;
  life_ = Life::Finalizing;
  changed_.notify_all();
  return NcclResult::InProgress;
}

NcclResult FakeComm::destroy() {
  {
    const std::lock_guard lock{mutex_};
    if (life_ != Life::Finalized) violation("ncclCommDestroy before ncclCommFinalize is done");
    life_ = Life::Ended;
  }
  end_worker();
  return NcclResult::Success;
}

NcclResult FakeComm::abort() {
  const auto fault = script_.at(rank_, "abort");
  {
    const std::lock_guard lock{mutex_};
    if (!group_.empty()) violation("ncclCommAbort while a group is open");
    life_ = Life::Ended;
  }
  // First: what is left of a communicator must not touch buffers that its owner frees.
  end_worker();
  if (fault.kind == FaultKind::Block) std::atexit(sleep_for_ever);
  if (fault.kind == FaultKind::Hang || fault.kind == FaultKind::Block) sleep_for_ever();
  std::this_thread::sleep_for(fault.slow);
  return NcclResult::Success;
}

void FakeComm::set_error(NcclResult error) {
  const std::lock_guard lock{mutex_};
  error_ = error;
}

void FakeComm::require_ready(const std::string& function) {
  const std::lock_guard lock{mutex_};
  if (error_ != NcclResult::Success) violation(function + " after an error");
  if (life_ != Life::Open) violation(function + " while the communicator is not open");
  if (!unseen_launches_.empty()) violation(function + " while ncclInProgress");
}

void FakeComm::end_worker() {
  given_up_ = true;
  {
    const std::lock_guard lock{mutex_};
    changed_.notify_all();
  }
  worker_.join();
  world_.reset();
}

void FakeComm::work() {
  join_world();
  while (auto operation = next_operation()) execute(*operation);
  finish_world();
}

void FakeComm::join_world() {
  const auto fault = script_.at(rank_, "init");
  if (fault.kind == FaultKind::AsyncError) return set_error(fault.error);
  if (fault.kind == FaultKind::Hang) return hang();
  if (!world_->meet(given_up_)) return;
  if (rank_ == 0) world_->seal(id_);
  const std::lock_guard lock{mutex_};
  if (life_ == Life::Joining) life_ = Life::Open;
}

void FakeComm::finish_world() {
  const auto fault = script_.at(rank_, "finalize");
  if (fault.kind == FaultKind::Hang) return hang();
  if (given_up_ || !world_->meet(given_up_)) return;
  const std::lock_guard lock{mutex_};
  if (fault.kind == FaultKind::AsyncError) error_ = fault.error;
  if (life_ == Life::Finalizing) life_ = Life::Finalized;
}

/// A bit in each 64 bytes, which in float32 leaves finite numbers finite: all that is reduced
/// suffers, also where most of it is of no consequence.
void FakeComm::corrupt(std::vector<std::byte>& output) {
  for (std::size_t i = 2; i < output.size(); i += 64) output[i] ^= std::byte{0x10};
}

std::optional<Operation> FakeComm::next_operation() {
  std::unique_lock lock{mutex_};
  changed_.wait(lock, [&] { return given_up_ || !queue_.empty() || life_ == Life::Finalizing; });
  if (given_up_ || queue_.empty()) return std::nullopt;
  auto operation = std::move(queue_.front());
  queue_.pop_front();
  return operation;
}

void FakeComm::execute(Operation& operation) {
  begin(operation);
  const auto fault = script_.at(rank_, "op" + std::to_string(operation.number));
  if (fault.kind == FaultKind::AsyncError) set_error(fault.error);
  if (fault.kind == FaultKind::AsyncError || fault.kind == FaultKind::Hang) return hang();
  std::vector<std::byte> output(output_bytes(operation.signature, size_));
  if (!move_data(operation, output)) return;
  if (fault.kind == FaultKind::Corrupt) corrupt(output);
  std::this_thread::sleep_for(kLate + fault.slow);
  finish(operation, output);
  if (fault.kind == FaultKind::ErrorAfter) set_error(fault.error);
  ++operation.stream->done;
}

void FakeComm::finish(Operation& operation, const std::vector<std::byte>& output) {
  const std::vector<std::byte> untouched(output.size(), kPoison);
  if (std::memcmp(operation.receive, untouched.data(), output.size()) != 0) {
    violation("the buffer of collective " + std::to_string(operation.number) +
              " was written before it was done");
  }
  std::memcpy(operation.receive, output.data(), output.size());
  const std::lock_guard lock{mutex_};
  --num_outstanding_;
}

bool FakeComm::all_agree(const Signature& signature) {
  world_->signature(rank_) = signature;
  if (!world_->meet(given_up_)) return false;
  for (int other = 0; other < size_; ++other) {
    if (world_->signature(other) == signature) continue;
    hang();
    return false;
  }
  return true;
}

bool FakeComm::move_data(const Operation& operation, std::vector<std::byte>& output) {
  if (!all_agree(operation.signature)) return false;
  const std::span input{operation.input};
  for (std::size_t first = 0; first < input.size(); first += SharedWorld::kSlotBytes) {
    const auto piece =
        input.subspan(first, std::min(SharedWorld::kSlotBytes, input.size() - first));
    std::ranges::copy(piece, world_->slot(rank_).begin());
    if (!world_->meet(given_up_)) return false;
    take_pieces(operation.signature, first, piece.size(), output);
    if (!world_->meet(given_up_)) return false;
  }
  return true;
}

void FakeComm::take_pieces(const Signature& call, std::size_t first, std::size_t length,
                           std::vector<std::byte>& output) {
  const auto piece_of = [&](std::size_t rank) {
    return world_->slot(static_cast<int>(rank)).first(length);
  };
  const auto size = static_cast<std::size_t>(size_);
  const auto block = call.count * element_bytes(call.type);
  if (call.operation == Operation::Broadcast) {
    place(piece_of(static_cast<std::size_t>(call.root)), first, output);
  } else if (call.operation == Operation::AllGather) {
    for (std::size_t rank = 0; rank < size; ++rank) {
      place(piece_of(rank), rank * block + first, output);
    }
  } else {
    // As in a ring, who adds first depends on the place.
    const auto start = first / SharedWorld::kSlotBytes;
    const auto begin = piece_of(start % size);
    std::vector<std::byte> sum(begin.begin(), begin.end());
    for (std::size_t step = 1; step < size; ++step) {
      reduce(sum, piece_of((start + step) % size), call.type, call.op);
    }
    const bool scatters = call.operation == Operation::ReduceScatter;
    const auto own = scatters ? static_cast<std::size_t>(rank_) * block : 0;
    const auto low = std::max(first, own);
    const auto high = std::min(first + length, own + output.size());
    if (low < high) place(std::span{sum}.subspan(low - first, high - low), low - own, output);
  }
}

void FakeComm::hang() {
  std::unique_lock lock{mutex_};
  changed_.wait(lock, [&] { return given_up_.load(); });
}

}  // namespace hone::testing

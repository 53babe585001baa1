#pragma once

#include "hone/core/communicator.hpp"
#include "rendezvous.hpp"

namespace hone::distributed::detail {

/// One rank of a ThreadWorld. Every rank works on a slice of all ranks' buffers, in place: nothing
/// is copied aside, and no two ranks touch the same element.
class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(Rendezvous& rendezvous, int rank) : rendezvous_(rendezvous), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return rendezvous_.size(); }
  std::string_view backend() const override { return "threads"; }

  void all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) override;
  void reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) override;
  void all_gather(void* data, std::int64_t block, DType dtype) override;
  void broadcast(void* data, std::int64_t count, DType dtype, int root) override;
  std::vector<std::vector<std::byte>> all_gather_bytes(std::span<const std::byte> mine) override;
  std::vector<std::vector<std::byte>> all_to_all_bytes(
      std::span<const std::vector<std::byte>> to) override;
  void barrier() override;
  void abort(int exit_code) override;

 private:
  void reduce_my_slice(std::int64_t count, DType dtype, ReduceOp op) const;
  std::vector<void*> everybodys_buffers() const;

  Rendezvous& rendezvous_;
  int rank_;
};

}  // namespace hone::distributed::detail

#pragma once

#include <memory>

#include "hone/core/communicator.hpp"
#include "hone/distributed/flight_recorder.hpp"

namespace hone::distributed {

/// A communicator whose collectives a flight recorder knows of, from before they begin until they
/// ended: so that others can say who waits in which for whom.
class WatchedCommunicator final : public Communicator {
 public:
  /// Ownership: `recorder` outlives it.
  WatchedCommunicator(std::unique_ptr<Communicator> inner, FlightRecorder& recorder)
      : inner_(std::move(inner)), recorder_(recorder) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  std::string_view backend() const override { return inner_->backend(); }

  void all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) override;
  void reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) override;
  void all_gather(void* data, std::int64_t block, DType dtype) override;
  void all_gathers(std::span<const RankBlocks> all) override;
  void broadcast(void* data, std::int64_t count, DType dtype, int root) override;
  std::vector<std::vector<std::byte>> all_gather_bytes(std::span<const std::byte> mine) override;
  std::vector<std::vector<std::byte>> all_to_all_bytes(
      std::span<const std::vector<std::byte>> to) override;
  void barrier() override;
  void start_all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) override;
  void start_reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) override;
  void wait() override;
  bool is_asynchronous() const override { return inner_->is_asynchronous(); }
  std::shared_ptr<std::byte> allocate(std::int64_t bytes) override;
  void abort(int exit_code) override { inner_->abort(exit_code); }

 private:
  std::unique_ptr<Communicator> inner_;
  FlightRecorder& recorder_;
};

}  // namespace hone::distributed

#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "hone/core/communicator.hpp"

namespace hone::testing {

/// Counts what this rank sends to others with all_to_all_bytes(), and in how many calls. Everything
/// goes to another communicator.
class CountingCommunicator final : public Communicator {
 public:
  explicit CountingCommunicator(Communicator& inner) : inner_(inner) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  std::string_view backend() const override { return inner_.backend(); }

  void all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) override {
    inner_.all_reduce(data, count, dtype, op);
  }
  void reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) override {
    inner_.reduce_scatter(data, block, dtype, op);
  }
  void all_gather(void* data, std::int64_t block, DType dtype) override {
    inner_.all_gather(data, block, dtype);
  }
  void broadcast(void* data, std::int64_t count, DType dtype, int root) override {
    inner_.broadcast(data, count, dtype, root);
  }
  std::vector<std::vector<std::byte>> all_gather_bytes(std::span<const std::byte> mine) override {
    return inner_.all_gather_bytes(mine);
  }
  std::vector<std::vector<std::byte>> all_to_all_bytes(
      std::span<const std::vector<std::byte>> to) override {
    ++exchanges_;
    for (const auto& bytes : to) sent_ += static_cast<std::int64_t>(bytes.size());
    return inner_.all_to_all_bytes(to);
  }
  void barrier() override { inner_.barrier(); }
  void abort(int exit_code) override { inner_.abort(exit_code); }

  std::int64_t exchanges() const { return exchanges_; }
  /// Units: bytes.
  std::int64_t sent() const { return sent_; }

 private:
  Communicator& inner_;
  std::int64_t exchanges_ = 0;
  std::int64_t sent_ = 0;
};

}  // namespace hone::testing

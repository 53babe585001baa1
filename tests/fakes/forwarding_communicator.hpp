#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "hone/core/communicator.hpp"

namespace hone::testing {

/// Passes everything to another communicator, which outlives it: for fakes that change a little of
/// that.
class ForwardingCommunicator : public Communicator {
 public:
  explicit ForwardingCommunicator(Communicator& inner) : inner_(inner) {}

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
    return inner_.all_to_all_bytes(to);
  }
  void barrier() override { inner_.barrier(); }
  void abort(int exit_code) override { inner_.abort(exit_code); }

 protected:
  Communicator& inner() { return inner_; }

 private:
  Communicator& inner_;
};

}  // namespace hone::testing

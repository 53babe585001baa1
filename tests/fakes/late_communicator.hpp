#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hone/core/activity.hpp"
#include "hone/core/communicator.hpp"

namespace hone::testing {

/// Remembers what phase a trainer is in.
class PhaseTeller final : public Activity {
 public:
  void enter(std::string_view phase, bool) override { phase_ = phase; }
  const std::string& phase() const { return phase_; }

 private:
  std::string phase_;
};

/// Does what is started as late as it may, in wait(), and poisons the buffers until then: whoever
/// reads or writes one too early spoils the result. Everything else goes to another communicator at
/// once.
class LateCommunicator final : public Communicator {
 public:
  explicit LateCommunicator(Communicator& inner, const PhaseTeller* activity = nullptr)
      : inner_(inner), activity_(activity) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  std::string_view backend() const override { return "late"; }
  bool is_asynchronous() const override { return true; }

  void start_all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) override {
    start(data, count, dtype, [=, this] { inner_.all_reduce(data, count, dtype, op); });
  }
  void start_reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) override {
    start(data, size() * block, dtype,
          [=, this] { inner_.reduce_scatter(data, block, dtype, op); });
  }
  void wait() override {
    for (const auto& [data, bytes, run] : started_) {
      std::ranges::copy(bytes, static_cast<std::byte*>(data));  // memcpy refuses an empty one
      run();
    }
    started_.clear();
  }

  void all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) override {
    wait();
    inner_.all_reduce(data, count, dtype, op);
  }
  void reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) override {
    wait();
    inner_.reduce_scatter(data, block, dtype, op);
  }
  void all_gather(void* data, std::int64_t block, DType dtype) override {
    wait();
    inner_.all_gather(data, block, dtype);
  }
  void broadcast(void* data, std::int64_t count, DType dtype, int root) override {
    wait();
    inner_.broadcast(data, count, dtype, root);
  }
  std::vector<std::vector<std::byte>> all_gather_bytes(std::span<const std::byte> mine) override {
    wait();
    return inner_.all_gather_bytes(mine);
  }
  void barrier() override {
    wait();
    inner_.barrier();
  }
  void abort(int exit_code) override { inner_.abort(exit_code); }

  /// The phase in which each start came; empty without an activity.
  const std::vector<std::string>& phases() const { return phases_; }

 private:
  struct Started {
    void* data;
    std::vector<std::byte> bytes;
    std::function<void()> run;
  };

  void start(void* data, std::int64_t count, DType dtype, std::function<void()> run) {
    const auto* first = static_cast<const std::byte*>(data);
    const auto size = static_cast<std::size_t>(count * size_of(dtype));
    started_.push_back({data, {first, first + size}, std::move(run)});
    std::memset(data, 0xFF, size);  // NaN in every float type
    if (activity_ != nullptr) phases_.push_back(activity_->phase());
  }

  Communicator& inner_;
  const PhaseTeller* activity_;
  std::vector<Started> started_;
  std::vector<std::string> phases_;
};

}  // namespace hone::testing

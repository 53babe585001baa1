#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "hone/core/communicator.hpp"

namespace hone::distributed {

/// A world of one: every collective is done as soon as its arguments are checked.
///
/// Thread-safety: one thread at a time.
/// Throws: CommunicatorError for arguments that no communicator takes, and after abort().
class LoopbackCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string_view backend() const override { return "loopback"; }

  void all_reduce(void* data, std::int64_t count, DType dtype, ReduceOp op) override;
  void reduce_scatter(void* data, std::int64_t block, DType dtype, ReduceOp op) override;
  void all_gather(void* data, std::int64_t block, DType dtype) override;
  void broadcast(void* data, std::int64_t count, DType dtype, int root) override;
  std::vector<std::vector<std::byte>> all_gather_bytes(std::span<const std::byte> mine) override;
  void barrier() override;

  /// Nobody else is there to be stopped: later collectives throw with `exit_code`.
  void abort(int exit_code) override;

 private:
  void require_not_aborted() const;

  std::optional<int> abort_code_;
};

}  // namespace hone::distributed

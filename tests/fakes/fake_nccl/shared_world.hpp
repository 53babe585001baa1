#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "hone/distributed/nccl_api.hpp"

namespace hone::testing {

/// What a rank asks for in one collective; NCCL hangs where ranks differ.
struct Signature {
  int operation = 0;
  std::uint64_t count = 0;
  distributed::NcclDataType type = distributed::NcclDataType::UInt8;
  distributed::NcclReduceOp op = distributed::NcclReduceOp::Sum;
  int root = 0;

  bool operator==(const Signature&) const = default;
};

/// The memory in which the ranks of one communicator meet: a memfd that one process made and the
/// others open as /proc/PID/fd/N, so that it has no name that could be left behind.
class SharedWorld {
 public:
  static constexpr int kMaxRanks = 16;
  static constexpr std::size_t kSlotBytes = std::size_t{1} << 20;

  /// Makes the memory of a new communicator and describes it in an id.
  static distributed::NcclUniqueId make_id();

  /// Joins the communicator of `id`. Ends the process where this rank, or all of them, have joined.
  SharedWorld(const distributed::NcclUniqueId& id, int rank, int size);
  ~SharedWorld();
  SharedWorld(const SharedWorld&) = delete;
  SharedWorld& operator=(const SharedWorld&) = delete;

  /// Waits until every rank is here. False where `given_up` became true before.
  bool meet(const std::atomic<bool>& given_up);

  Signature& signature(int rank);
  /// A rank's part of the memory, for pieces of buffers.
  std::span<std::byte> slot(int rank);

  /// After all have joined: nobody else can.
  void seal(const distributed::NcclUniqueId& id);

 private:
  struct Header;
  Header* header_ = nullptr;
  int size_ = 0;
};

}  // namespace hone::testing

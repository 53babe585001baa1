#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace hone::distributed::detail {

// Memory that the processes of one node map together. Each owns a file without a name
// (memfd_create), which its peers open through /proc/PID/fd: nothing is left behind when a process
// is killed, the size of /dev/shm does not matter, and every step that can fail fails with a
// reason.

/// What a process tells its peers so that they can map its memory. Travels as bytes.
struct MemoryOffer {
  pid_t pid = 0;
  int fd = -1;
  std::uint64_t token = 0;  ///< part of the file's name: a PID may mean another process in a container
};

/// Pages of a file in this process, from construction to destruction.
class Mapping {
 public:
  /// Maps the first `bytes` for reading and writing. `populate`: all pages are present at once.
  /// Throws: CommunicatorError.
  Mapping(int fd, std::int64_t bytes, bool populate);
  ~Mapping();
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&&) = delete;

  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// A file descriptor that is closed at the end, and not inherited by other programs.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&&) = delete;

  int get() const { return fd_; }

 private:
  int fd_;
};

/// Memory of this process that peers can map for as long as this object lives.
class SharedMemory {
 public:
  /// All zero, and all there: what is not available is an error here, not a signal later.
  /// Throws: CommunicatorError.
  explicit SharedMemory(std::int64_t bytes);

  MemoryOffer offer() const;
  Mapping map() const { return {file_.get(), bytes_, /*populate=*/true}; }

 private:
  std::int64_t bytes_;
  std::uint64_t token_;
  FileDescriptor file_;
};

/// A peer's memory, in this process. The peer's SharedMemory need not live on.
/// Throws: CommunicatorError where it cannot be opened, or is not what was offered.
Mapping map_offered(const MemoryOffer& offer, std::int64_t bytes);

/// One allocation: the memory of each rank of this node, in the node's order. Independent of MPI.
class NodeMemory {
 public:
  /// `number` counts allocations, alike on all ranks.
  NodeMemory(std::int64_t number, std::int64_t bytes, std::vector<Mapping> parts, int mine)
      : number_(number), bytes_(bytes), parts_(std::move(parts)), mine_(mine) {}

  std::int64_t number() const { return number_; }
  std::byte* mine() const { return parts_[static_cast<std::size_t>(mine_)].data(); }
  /// Whether [data, data + bytes) is part of this rank's memory.
  bool contains(const void* data, std::int64_t bytes) const;
  /// The bytes at `offset` of every rank's memory.
  std::vector<void*> at(std::int64_t offset) const;

 private:
  std::int64_t number_;
  std::int64_t bytes_;
  std::vector<Mapping> parts_;
  int mine_;
};

}  // namespace hone::distributed::detail

#include "node_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <random>
#include <string>
#include <utility>

#include "hone/core/error.hpp"

namespace hone::distributed::detail {
namespace {

[[noreturn]] void fail(const std::string& what, int error) {
  throw CommunicatorError{what + ": " + std::strerror(error)};
}

std::string name_of(std::uint64_t token) { return "hone-" + std::to_string(token); }

std::uint64_t random_token() {
  std::random_device random;
  return (std::uint64_t{random()} << 32) | random();
}

int create_file(std::uint64_t token) {
  const int fd = memfd_create(name_of(token).c_str(), MFD_CLOEXEC);
  if (fd < 0) fail("memfd_create", errno);
  return fd;
}

/// Beyond this limit of the shell (ulimit -f) the kernel sends SIGXFSZ, which may end the process.
void require_file_size(std::int64_t bytes) {
  rlimit limit{};
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0) fail("getrlimit", errno);
  if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < static_cast<rlim_t>(bytes)) {
    throw CommunicatorError{"the limit of file sizes (ulimit -f) is " +
                            std::to_string(limit.rlim_cur) + " bytes, below the " +
                            std::to_string(bytes) + " of one buffer"};
  }
}

/// Reserved by the process that will use it most: on a NUMA machine it gets pages near its cores.
void reserve(int fd, std::int64_t bytes) {
  require_file_size(bytes);
  int error = EINTR;
  while (error == EINTR) error = posix_fallocate(fd, 0, bytes);
  if (error != 0) fail("reserving " + std::to_string(bytes) + " bytes of shared memory", error);
}

std::string target_of(const std::string& link) {
  std::array<char, 256> text{};
  const auto length = readlink(link.c_str(), text.data(), text.size());
  if (length < 0) fail("looking at the shared memory of a peer, " + link, errno);
  return {text.data(), static_cast<std::size_t>(length)};
}

}  // namespace

Mapping::Mapping(int fd, std::int64_t bytes, bool populate)
    : bytes_(static_cast<std::size_t>(bytes)) {
  const int flags = MAP_SHARED | (populate ? MAP_POPULATE : 0);
  void* start = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (start == MAP_FAILED) fail("mapping " + std::to_string(bytes) + " bytes", errno);
  data_ = static_cast<std::byte*>(start);
}

Mapping::~Mapping() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)) {}

SharedMemory::SharedMemory(std::int64_t bytes)
    : bytes_(bytes), token_(random_token()), file_(create_file(token_)) {
  reserve(file_.get(), bytes_);
}

MemoryOffer SharedMemory::offer() const {
  return {.pid = getpid(), .fd = file_.get(), .token = token_};
}

Mapping map_offered(const MemoryOffer& offer, std::int64_t bytes) {
  const std::string link =
      "/proc/" + std::to_string(offer.pid) + "/fd/" + std::to_string(offer.fd);
  // Looked at before it is opened: opening whatever another process has there may block or do harm.
  if (target_of(link) != "/memfd:" + name_of(offer.token) + " (deleted)") {
    throw CommunicatorError{link + " is not the memory that a peer offered: do the ranks of this node "
                                   "run in containers with process numbers of their own?"};
  }
  const FileDescriptor file{open(link.c_str(), O_RDWR | O_CLOEXEC)};
  if (file.get() < 0) fail("opening the shared memory of a peer, " + link, errno);
  // Of a peer's memory a rank touches a part: the rest must not count as resident here.
  return {file.get(), bytes, /*populate=*/false};
}

bool NodeMemory::contains(const void* data, std::int64_t bytes) const {
  const auto start = reinterpret_cast<std::uintptr_t>(mine());
  const auto asked = reinterpret_cast<std::uintptr_t>(data);
  return asked >= start && asked - start <= static_cast<std::uintptr_t>(bytes_) &&
         static_cast<std::uintptr_t>(bytes) <= static_cast<std::uintptr_t>(bytes_) - (asked - start);
}

std::vector<void*> NodeMemory::at(std::int64_t offset) const {
  std::vector<void*> places;
  places.reserve(parts_.size());
  for (const auto& part : parts_) places.push_back(part.data() + offset);
  return places;
}

}  // namespace hone::distributed::detail

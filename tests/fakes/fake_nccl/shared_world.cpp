#include "shared_world.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>

#include "script.hpp"

namespace hone::testing {
namespace {

/// What a unique id of the fake says.
struct Address {
  char magic[8];
  pid_t process;
  int file;
  std::uint64_t serial;  ///< file numbers are used again; these are not
};

constexpr char kMagic[8] = "fakeid1";

Address address_of(const distributed::NcclUniqueId& id) {
  Address address;
  std::memcpy(&address, id.bytes, sizeof(address));
  if (std::memcmp(address.magic, kMagic, sizeof(kMagic)) != 0) {
    violation("the unique id was not made by ncclGetUniqueId");
  }
  return address;
}

}  // namespace

/// Atomics that need no lock work between processes, and no rank that dies can hold them.
struct SharedWorld::Header {
  std::uint64_t serial = 0;
  std::array<std::atomic<bool>, kMaxRanks> joined{};
  std::atomic<int> num_here{0};
  std::atomic<std::int64_t> num_meetings{0};
  std::array<Signature, kMaxRanks> signatures{};
};

namespace {

constexpr std::size_t kHeaderBytes = 4096;
constexpr std::size_t kWorldBytes =
    kHeaderBytes + SharedWorld::kMaxRanks * SharedWorld::kSlotBytes;

void* map(int file) {
  void* memory = mmap(nullptr, kWorldBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) violation(std::string{"mmap: "} + std::strerror(errno));
  return memory;
}

}  // namespace

distributed::NcclUniqueId SharedWorld::make_id() {
  static_assert(sizeof(Header) <= kHeaderBytes && std::atomic<std::int64_t>::is_always_lock_free);
  static std::atomic<std::uint64_t> num_made{0};
  Address address{};
  std::memcpy(address.magic, kMagic, sizeof(kMagic));
  address.process = getpid();
  address.file = memfd_create("fake_nccl", MFD_CLOEXEC);
  address.serial = ++num_made;
  if (address.file < 0 || ftruncate(address.file, kWorldBytes) != 0) {
    violation(std::string{"memfd_create: "} + std::strerror(errno));
  }
  void* memory = map(address.file);
  new (memory) Header{.serial = address.serial};
  munmap(memory, kWorldBytes);
  distributed::NcclUniqueId id{};
  std::memcpy(id.bytes, &address, sizeof(address));
  return id;
}

SharedWorld::SharedWorld(const distributed::NcclUniqueId& id, int rank, int size) : size_(size) {
  const auto address = address_of(id);
  const auto path =
      "/proc/" + std::to_string(address.process) + "/fd/" + std::to_string(address.file);
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) violation("a unique id is good for one communicator; this one's is gone: " + path);
  header_ = static_cast<Header*>(map(file));
  close(file);
  auto& joined = header_->joined[static_cast<std::size_t>(rank)];
  if (header_->serial != address.serial || joined.exchange(true)) {
    violation("a unique id is good for one communicator; rank " + std::to_string(rank) +
              " uses one for the second time");
  }
}

SharedWorld::~SharedWorld() { munmap(header_, kWorldBytes); }

bool SharedWorld::meet(const std::atomic<bool>& given_up) {
  const auto meeting = header_->num_meetings.load();
  if (++header_->num_here == size_) {
    header_->num_here = 0;
    ++header_->num_meetings;
    return true;
  }
  for (int turn = 0; header_->num_meetings == meeting; ++turn) {
    if (given_up) return false;
    if (turn < 50) std::this_thread::yield();
    else std::this_thread::sleep_for(std::chrono::microseconds{30});
  }
  return true;
}

Signature& SharedWorld::signature(int rank) {
  return header_->signatures[static_cast<std::size_t>(rank)];
}

std::span<std::byte> SharedWorld::slot(int rank) {
  auto* slots = reinterpret_cast<std::byte*>(header_) + kHeaderBytes;
  return {slots + static_cast<std::size_t>(rank) * kSlotBytes, kSlotBytes};
}

void SharedWorld::seal(const distributed::NcclUniqueId& id) {
  const auto address = address_of(id);
  if (address.process == getpid()) close(address.file);
}

}  // namespace hone::testing

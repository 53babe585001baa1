#pragma once

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "hone/checkpoints/file_ops.hpp"

namespace hone::testing {

/// Thrown by a FaultyFileOps instead of ending the process. Not a std::exception, so that nothing
/// that handles errors handles it.
struct Killed {};

/// The real file system, except for one call. Calls are counted over all threads; reads count too.
class FaultyFileOps final : public checkpoints::FileOps {
 public:
  /// Every call works.
  FaultyFileOps() = default;

  /// Call number `call` (from 0) returns -error_number and does nothing; later ones work.
  static FaultyFileOps failing(int call, int error_number) { return {call, error_number}; }

  /// Call number `call` and all later ones throw Killed and do nothing, except that a write that is
  /// hit writes its first half.
  static FaultyFileOps killed(int call) { return {call, 0}; }

  /// The fault was reached.
  bool hit() const { return calls_ > fault_at_ && fault_at_ >= 0; }
  int calls() const { return calls_; }
  /// What the faulty call was asked to do, as in "rename /a/b".
  std::string hit_call() const { return hit_call_; }

  int open(const std::filesystem::path& path, int flags) override {
    return pass("open " + path.string(), [&] { return real_.open(path, flags); });
  }
  int close(int fd) override {
    // The descriptor goes in any case: as on Linux where close fails, and as where a process ends.
    const int result = real_.close(fd);
    return pass("close", [&] { return result; });
  }
  std::int64_t pwrite(int fd, std::span<const std::byte> bytes, std::int64_t offset) override {
    if (next("pwrite") == Verdict::Works) return real_.pwrite(fd, bytes, offset);
    real_.pwrite(fd, bytes.first(bytes.size() / 2), offset);
    return fault();
  }
  std::int64_t pread(int fd, std::span<std::byte> bytes, std::int64_t offset) override {
    return pass("pread", [&] { return real_.pread(fd, bytes, offset); });
  }
  int allocate(int fd, std::int64_t bytes) override {
    return pass("allocate", [&] { return real_.allocate(fd, bytes); });
  }
  std::int64_t size(int fd) override {
    return pass("size", [&] { return real_.size(fd); });
  }
  int fsync(int fd) override {
    return pass("fsync", [&] { return real_.fsync(fd); });
  }
  int rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    return pass("rename " + from.string(), [&] { return real_.rename(from, to); });
  }
  int make_directory(const std::filesystem::path& path) override {
    return pass("mkdir " + path.string(), [&] { return real_.make_directory(path); });
  }
  int unlink(const std::filesystem::path& path) override {
    return pass("unlink " + path.string(), [&] { return real_.unlink(path); });
  }
  int remove_directory(const std::filesystem::path& path) override {
    return pass("rmdir " + path.string(), [&] { return real_.remove_directory(path); });
  }
  int list(const std::filesystem::path& path,
           std::vector<checkpoints::DirectoryEntry>& entries) override {
    return pass("list " + path.string(), [&] { return real_.list(path, entries); });
  }

 private:
  enum class Verdict { Works, Fault, Dead };

  FaultyFileOps(int call, int error_number) : fault_at_(call), error_number_(error_number) {}

  Verdict next(const std::string& what) {
    const int call = calls_++;
    if (fault_at_ < 0 || call < fault_at_) return Verdict::Works;
    if (call == fault_at_) {
      hit_call_ = what;
      return Verdict::Fault;
    }
    if (error_number_ != 0) return Verdict::Works;
    throw Killed{};  // the process is gone: nothing happens any more
  }

  int fault() const {
    if (error_number_ == 0) throw Killed{};
    return -error_number_;
  }

  template <typename Call>
  auto pass(const std::string& what, Call call) -> decltype(call()) {
    if (next(what) == Verdict::Works) return call();
    return fault();
  }

  checkpoints::FileOps& real_ = checkpoints::real_file_ops();
  int fault_at_ = -1;
  int error_number_ = 0;
  std::atomic<int> calls_ = 0;
  std::string hit_call_;
};

}  // namespace hone::testing

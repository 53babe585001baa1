#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace hone::checkpoints {

enum class EntryKind { File, Directory, Other };

struct DirectoryEntry {
  std::string name;
  EntryKind kind = EntryKind::Other;
};

/// The file system as checkpoints see it: every call that touches a disk passes here, so that a
/// test can fail or end the process at any one of them.
///
/// Every function returns what its system call returns, or the negated errno; none throws, except
/// for want of memory. Interrupted calls (EINTR) are repeated inside.
/// Thread-safety: calls on different paths and descriptors may run concurrently.
class FileOps {
 public:
  virtual ~FileOps() = default;

  /// `flags` as in open(2); O_CLOEXEC is always added. New files get mode 0666 less
  /// the umask.
  virtual int open(const std::filesystem::path& path, int flags) = 0;
  virtual int close(int fd) = 0;
  /// May write less than asked.
  virtual std::int64_t pwrite(int fd, std::span<const std::byte> bytes, std::int64_t offset) = 0;
  /// May read less than asked; 0 at the end of the file.
  virtual std::int64_t pread(int fd, std::span<std::byte> bytes, std::int64_t offset) = 0;
  /// Reserves space, so that a full disk shows before the first byte is written. Succeeds without
  /// doing anything on file systems that cannot reserve.
  virtual int allocate(int fd, std::int64_t bytes) = 0;
  /// Units: bytes. -EINVAL for what is not a file.
  virtual std::int64_t size(int fd) = 0;
  virtual int fsync(int fd) = 0;
  virtual int rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  virtual int make_directory(const std::filesystem::path& path) = 0;
  virtual int unlink(const std::filesystem::path& path) = 0;
  virtual int remove_directory(const std::filesystem::path& path) = 0;
  /// Appends the entries of a folder, without "." and "..", in no order.
  virtual int list(const std::filesystem::path& path, std::vector<DirectoryEntry>& entries) = 0;
};

/// The operating system's own. Stateless; lives as long as the process.
FileOps& real_file_ops();

}  // namespace hone::checkpoints

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "handle.hpp"
#include "hone/checkpoints/file_ops.hpp"
#include "hone/core/error.hpp"

/// Whole operations over FileOps. All throw CheckpointError with the path and the system's text;
/// its exit code is RunHeld where there is no space and Io otherwise.
namespace hone::checkpoints::detail {

/// How much one read or write moves: large enough for the disk, small enough to be hashed in cache.
inline constexpr std::size_t kChunkBytes = std::size_t{4} << 20;
/// How long a file system may take to show other nodes what one of them has written.
inline constexpr std::chrono::minutes kVisible{2};

/// "cannot <what> <path>: No space left on device (errno 28)".
CheckpointError file_error(std::string_view what, const std::filesystem::path& path,
                           int error_number);

/// An open file of a FileOps.
class File {
 public:
  /// Throws also where `path` exists already.
  static File create(FileOps& files, const std::filesystem::path& path);
  /// For reading. A symbolic link is refused.
  static File open(FileOps& files, const std::filesystem::path& path);
  /// For sync() alone; the run directory itself may be a symbolic link.
  static File open_directory(FileOps& files, const std::filesystem::path& path);

  void allocate(std::int64_t bytes);
  void write_at(std::span<const std::byte> bytes, std::int64_t offset);
  /// Throws where the file ends before `bytes` are filled.
  void read_at(std::span<std::byte> bytes, std::int64_t offset) const;
  /// Units: bytes.
  std::int64_t size() const;
  void sync();
  /// Throws where the system reports a late write error; the file cannot be trusted then.
  void close();

 private:
  struct Release {
    FileOps* files;
    std::filesystem::path path;
    void operator()(int fd) const;
  };
  File(FileOps& files, std::filesystem::path path, int flags, std::string_view what);

  FileOps* files_;
  std::filesystem::path path_;
  Handle<int, Release> fd_;
};

/// Creates a file with these bytes and syncs it.
void write_new_file(FileOps& files, const std::filesystem::path& path, std::string_view text);

/// Throws where the file is longer than `max_bytes`.
std::string read_text_file(FileOps& files, const std::filesystem::path& path,
                           std::int64_t max_bytes);

/// Makes the entries of a folder durable.
void sync_directory(FileOps& files, const std::filesystem::path& path);

void rename(FileOps& files, const std::filesystem::path& from, const std::filesystem::path& to);

/// Creates a folder that must not exist yet.
void make_directory(FileOps& files, const std::filesystem::path& path);

/// Creates a folder and its parents durably; those that exist are left alone.
void ensure_directory(FileOps& files, const std::filesystem::path& path);

/// Sorted by name.
std::vector<DirectoryEntry> list_directory(FileOps& files, const std::filesystem::path& path);

/// Deletes a folder and all below it; symbolic links are removed, not followed.
void remove_tree(FileOps& files, const std::filesystem::path& path);

}  // namespace hone::checkpoints::detail

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string_view>

#include "hone/checkpoints/file_ops.hpp"

namespace hone::checkpoints {
namespace {

/// Units: bytes.
constexpr std::int64_t kLargeWrite = std::int64_t{1} << 20;

/// The kernel would leave the bytes in memory until there are many or fsync() comes, and the disk
/// idle so long. A hint: what goes wrong is told by fsync().
void start_writing_back(int fd, std::int64_t offset, std::int64_t bytes) {
  static_cast<void>(::sync_file_range(fd, offset, bytes, SYNC_FILE_RANGE_WRITE));
}

constexpr int kNewFileMode = 0666;
constexpr int kNewDirectoryMode = 0777;

/// Repeats an interrupted call; gives its result or the negated errno.
template <typename Call>
auto call_system(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result == -1 && errno == EINTR);
  return result == -1 ? static_cast<decltype(result)>(-errno) : result;
}

EntryKind kind_of(int directory, const dirent& entry) {
  if (entry.d_type == DT_REG) return EntryKind::File;
  if (entry.d_type == DT_DIR) return EntryKind::Directory;
  if (entry.d_type != DT_UNKNOWN) return EntryKind::Other;
  struct stat status {};  // some network file systems leave the type out
  if (::fstatat(directory, entry.d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return EntryKind::Other;
  }
  if (S_ISREG(status.st_mode)) return EntryKind::File;
  return S_ISDIR(status.st_mode) ? EntryKind::Directory : EntryKind::Other;
}

class PosixFileOps final : public FileOps {
 public:
  int open(const std::filesystem::path& path, int flags) override {
    const int fd = call_system(
        [&] { return ::open(path.c_str(), flags | O_CLOEXEC, kNewFileMode); });
    // What is read is read in order: the kernel may look further ahead.
    if (fd >= 0) static_cast<void>(::posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
    return fd;
  }

  int close(int fd) override {
    // Not repeated on EINTR: on Linux the descriptor is gone either way.
    return ::close(fd) == 0 ? 0 : -errno;
  }

  std::int64_t pwrite(int fd, std::span<const std::byte> bytes, std::int64_t offset) override {
    const auto written =
        call_system([&] { return ::pwrite(fd, bytes.data(), bytes.size(), offset); });
    if (written >= kLargeWrite) start_writing_back(fd, offset, written);
    return written;
  }

  std::int64_t pread(int fd, std::span<std::byte> bytes, std::int64_t offset) override {
    return call_system([&] { return ::pread(fd, bytes.data(), bytes.size(), offset); });
  }

  int allocate(int fd, std::int64_t bytes) override {
    if (bytes == 0) return 0;
    const int result = call_system([&] { return ::fallocate(fd, 0, 0, bytes); });
    return result == -EOPNOTSUPP || result == -ENOSYS ? 0 : result;
  }

  std::int64_t size(int fd) override {
    struct stat status {};
    if (::fstat(fd, &status) != 0) return -errno;
    return S_ISREG(status.st_mode) ? static_cast<std::int64_t>(status.st_size) : -EINVAL;
  }

  int fsync(int fd) override {
    return call_system([&] { return ::fsync(fd); });
  }

  int rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    return call_system([&] { return ::rename(from.c_str(), to.c_str()); });
  }

  int make_directory(const std::filesystem::path& path) override {
    return call_system([&] { return ::mkdir(path.c_str(), kNewDirectoryMode); });
  }

  int unlink(const std::filesystem::path& path) override {
    return call_system([&] { return ::unlink(path.c_str()); });
  }

  int remove_directory(const std::filesystem::path& path) override {
    return call_system([&] { return ::rmdir(path.c_str()); });
  }

  int list(const std::filesystem::path& path, std::vector<DirectoryEntry>& entries) override {
    const std::unique_ptr<DIR, int (*)(DIR*)> directory{::opendir(path.c_str()), ::closedir};
    if (!directory) return -errno;
    errno = 0;
    while (const dirent* entry = ::readdir(directory.get())) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") {
        entries.push_back({std::string{name}, kind_of(::dirfd(directory.get()), *entry)});
      }
      errno = 0;
    }
    return -errno;
  }
};

}  // namespace

FileOps& real_file_ops() {
  static PosixFileOps instance;
  return instance;
}

}  // namespace hone::checkpoints

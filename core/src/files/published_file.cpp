#include "hone/core/files/published_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "hone/core/printable.hpp"

namespace hone {
namespace {

/// The largest piece for one write(2), which takes at most 2 GiB.
constexpr std::size_t kWriteBytes = std::size_t{1} << 30;

}  // namespace

Error file_error(const std::filesystem::path& path, std::string_view what, int error_number) {
  const bool full = error_number == ENOSPC || error_number == EDQUOT;
  return Error{full ? ExitCode::RunHeld : ExitCode::Io,
               printable(path.string()) + ": " + std::string{what} + " failed: " +
                   std::strerror(error_number) + (full ? "; free some space and run again" : "")};
}

int write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd, bytes.data(), std::min(bytes.size(), kWriteBytes));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return 0;
}

void sync_folder(const std::filesystem::path& folder) {
  const FileDescriptor open{
      ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!open.is_open()) throw file_error(folder, "opening the folder", errno);
  if (::fsync(open.get()) != 0) throw file_error(folder, "syncing the folder", errno);
}

PublishedFile::PublishedFile(std::filesystem::path file) : file_(std::move(file)) {
  open_alone();
}

void PublishedFile::open_alone() {
  while (true) {
    descriptor_ = FileDescriptor{
        ::open(partial().c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666)};
    if (!descriptor_.is_open()) throw file_error(partial(), "creating the file", errno);
    if (::flock(descriptor_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      throw Error{ExitCode::Io, printable(file_.string()) +
                                    " is being written by another process. Wait for it, or choose "
                                    "another name"};
    }
    // Between opening and locking another process may have published this very file.
    struct stat opened {}, named {};
    if (::fstat(descriptor_.get(), &opened) == 0 && ::lstat(partial().c_str(), &named) == 0 &&
        opened.st_dev == named.st_dev && opened.st_ino == named.st_ino) {
      break;
    }
  }
  if (::ftruncate(descriptor_.get(), 0) != 0) throw file_error(partial(), "emptying", errno);
}

PublishedFile::~PublishedFile() {
  if (pending_ && descriptor_.is_open()) ::unlink(partial().c_str());
}

PublishedFile::PublishedFile(PublishedFile&& other) noexcept
    : file_(std::move(other.file_)),
      descriptor_(std::move(other.descriptor_)),
      pending_(std::exchange(other.pending_, false)) {}

std::filesystem::path PublishedFile::partial() const {
  auto name = file_;
  return name += ".partial";
}

void PublishedFile::write(std::span<const std::byte> bytes) {
  if (const int reason = write_all(descriptor_.get(), bytes)) {
    throw file_error(partial(), "writing", reason);
  }
}

void PublishedFile::finish() {
  if (::fsync(descriptor_.get()) != 0) throw file_error(partial(), "syncing", errno);
}

void PublishedFile::publish() {
  if (::rename(partial().c_str(), file_.c_str()) != 0) {
    throw file_error(file_, "renaming the new file to this", errno);
  }
  pending_ = false;
  descriptor_.reset();  // the lock lasts until the name is the final one
}

void write_durably(const std::filesystem::path& path, std::string_view text) {
  PublishedFile file{path};
  file.write(text);
  file.finish();
  file.publish();
  sync_folder(path.parent_path());
}

}  // namespace hone

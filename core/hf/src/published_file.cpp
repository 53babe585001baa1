#include "published_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "hone/core/error.hpp"

namespace hone::detail {
namespace {

/// The largest piece for one write(2), which takes at most 2 GiB.
constexpr std::size_t kWriteBytes = std::size_t{1} << 30;

[[noreturn]] void fail(const std::filesystem::path& file, const char* what) {
  const int reason = errno;
  const bool full = reason == ENOSPC || reason == EDQUOT;
  throw Error{full ? ExitCode::RunHeld : ExitCode::Io,
              file.string() + ": " + what + " failed: " + std::strerror(reason) +
                  (full ? "; free some space and run again" : "")};
}

}  // namespace

PublishedFile::PublishedFile(std::filesystem::path file) : file_(std::move(file)) {
  fd_ = ::open(partial().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) fail(partial(), "creating the file");
}

PublishedFile::~PublishedFile() {
  if (fd_ >= 0) ::close(fd_);
  if (pending_) ::unlink(partial().c_str());
}

PublishedFile::PublishedFile(PublishedFile&& other) noexcept
    : file_(std::move(other.file_)),
      fd_(std::exchange(other.fd_, -1)),
      pending_(std::exchange(other.pending_, false)) {}

std::filesystem::path PublishedFile::partial() const {
  auto name = file_;
  return name += ".partial";
}

void PublishedFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), std::min(bytes.size(), kWriteBytes));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(partial(), "writing");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void PublishedFile::finish() {
  if (::fsync(fd_) != 0) fail(partial(), "syncing");
  if (::close(std::exchange(fd_, -1)) != 0) fail(partial(), "closing");
}

void PublishedFile::publish() {
  if (::rename(partial().c_str(), file_.c_str()) != 0) fail(file_, "renaming the new file to this");
  pending_ = false;
}

void sync_folder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail(folder, "opening the folder");
  const bool synced = ::fsync(fd) == 0;
  const int reason = errno;
  ::close(fd);
  if (synced) return;
  errno = reason;
  fail(folder, "syncing the folder");
}

}  // namespace hone::detail

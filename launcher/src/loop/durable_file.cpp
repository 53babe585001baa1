#include "durable_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "hone/core/printable.hpp"
#include "hone/launcher/loop/file_descriptor.hpp"

namespace hone::launcher {
namespace {

void write_and_sync(const std::filesystem::path& path, std::string_view text) {
  FileDescriptor file{
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666)};
  if (!file.is_open()) throw file_error(path, "creating", errno);
  if (const int reason = write_all(file.get(), text)) throw file_error(path, "writing", reason);
  if (::fsync(file.get()) != 0) throw file_error(path, "syncing", errno);
  if (::close(file.release()) != 0) throw file_error(path, "closing", errno);
}

void sync_folder(const std::filesystem::path& path) {
  const FileDescriptor folder{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!folder.is_open()) throw file_error(path, "opening", errno);
  if (::fsync(folder.get()) != 0) throw file_error(path, "syncing", errno);
}

}  // namespace

Error file_error(const std::filesystem::path& path, std::string_view what, int error_number) {
  const bool full = error_number == ENOSPC || error_number == EDQUOT;
  return Error{full ? ExitCode::RunHeld : ExitCode::Io,
               printable(path.string()) + ": " + std::string{what} + " failed: " +
                   std::strerror(error_number) + (full ? "; free some space and run again" : "")};
}

int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  return 0;
}

void write_durably(const std::filesystem::path& path, std::string_view text) {
  auto beside = path;
  beside += ".partial";
  try {
    write_and_sync(beside, text);
    if (::rename(beside.c_str(), path.c_str()) != 0) throw file_error(path, "renaming", errno);
  } catch (const Error&) {
    ::unlink(beside.c_str());
    throw;
  }
  sync_folder(path.parent_path().empty() ? "." : path.parent_path());
}

}  // namespace hone::launcher

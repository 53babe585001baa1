#include "hone/launcher/loop/run_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <string>
#include <thread>

#include "hone/core/files/published_file.hpp"
#include "hone/core/printable.hpp"

namespace hone::launcher {
namespace {

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text.data();
}

constexpr std::string_view kSince = " since ";

/// Who holds the lock writes that a moment later.
std::string owner_in(const FileDescriptor& file) {
  std::array<char, 512> text{};
  ssize_t size = 0;
  for (int i = 0; i < 20 && size <= 0; ++i) {
    if (i > 0) std::this_thread::sleep_for(std::chrono::milliseconds{5});
    size = ::pread(file.get(), text.data(), text.size(), 0);
  }
  if (size <= 0) return "another process";
  std::string_view owner{text.data(), static_cast<std::size_t>(size)};
  return printable(owner.substr(0, owner.find('\n')));
}

}  // namespace

RunLock::RunLock(const std::filesystem::path& directory, Logger& logger) {
  const auto path = directory / ".lock";
  file_ = FileDescriptor{::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666)};
  if (!file_.is_open()) throw file_error(path, "opening", errno);
  if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      throw Error{ExitCode::RunHeld, printable(directory.string()) + " is in use by " +
                                         owner_in(file_) +
                                         ". Wait until it ends, or choose another --output_dir"};
    }
    logger.warning(printable(path.string()) + " cannot be locked (" + std::strerror(errno) +
                   "): take care that no second run uses this folder");
    return;
  }
  const std::string owner = owner_name().append(kSince) + utc_now() + "\n";
  if (::ftruncate(file_.get(), 0) != 0) throw file_error(path, "truncating", errno);
  if (const int reason = write_all(file_.get(), owner)) throw file_error(path, "writing", reason);
}

std::string RunLock::owner_name() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return "pid " + std::to_string(::getpid()) + " on " + host.data();
}

bool RunLock::is_held_by_other(const std::filesystem::path& directory, std::string_view own) {
  const FileDescriptor file{
      ::open((directory / ".lock").c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
  const bool is_held =
      file.is_open() && ::flock(file.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  return is_held && !owner_in(file).starts_with(std::string{own}.append(kSince));
}

}  // namespace hone::launcher

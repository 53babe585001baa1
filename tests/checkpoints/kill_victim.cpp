// A run that saves checkpoints by the shipping store, and ends in the midst of one of its calls to the
// file system. kill_test.cpp and power_test.cpp look at what it leaves.
//
//   kill_victim RUN_DIRECTORY RANKS FIRST_STEP NUM_SAVES CALL END [LACKS]
//
// END: before or during (the call; then SIGKILL), or cut-log or cut (before the call the file system is
// shut down with its journal written out, or not: nothing that is in memory alone comes to the disk).
// LACKS: files, folders or run (the run directory alone), whose fsync does nothing then.
//
// As a trainer's, its checkpoints have a file of the caller's, and its run a log.
//
// Standard output: "saved STEP" for each save that returned; before the end "at KIND" of the call.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include "find_newest.hpp"
#include "hone/checkpoints/hdf5_checkpoint_store.hpp"
#include "hone/core/logger.hpp"
#include "hone/distributed/thread_world.hpp"
#include "sample_content.hpp"

namespace {

using namespace hone;
namespace fs = std::filesystem;

/// One write(2) a line: what was written is in the pipe, whatever comes.
void tell(const std::string& line) {
  const auto text = line + '\n';
  if (::write(STDOUT_FILENO, text.data(), text.size()) < 0) _exit(1);
}

/// ext4's and XFS's, one number.
constexpr unsigned long kShutdown = _IOR('X', 125, std::uint32_t);
constexpr std::uint32_t kWithJournal = 1, kWithoutJournal = 2;

/// As a power cut: what follows on that file system fails.
[[noreturn]] void cut_power(const fs::path& run, std::uint32_t flags) {
  const int folder = ::open(run.parent_path().c_str(), O_RDONLY | O_DIRECTORY);
  const bool is_cut = folder >= 0 && ::ioctl(folder, kShutdown, &flags) == 0;
  _exit(is_cut ? 9 : 1);
}

bool is_folder(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
}

bool is_at(int fd, const fs::path& path) {
  struct stat one {}, other {};
  return ::fstat(fd, &one) == 0 && ::stat(path.c_str(), &other) == 0 && one.st_dev == other.st_dev &&
         one.st_ino == other.st_ino;
}

/// The real file system up to one call.
class DeadlyFileOps final : public checkpoints::FileOps {
 public:
  DeadlyFileOps(fs::path run, long call, std::string end, std::string lacks)
      : run_(std::move(run)), call_(call), end_(std::move(end)), lacks_(std::move(lacks)) {}

  int open(const fs::path& path, int flags) override {
    return pass("open", [&] { return real_.open(path, flags); });
  }
  int close(int fd) override {
    return pass("close", [&] { return real_.close(fd); });
  }
  std::int64_t pwrite(int fd, std::span<const std::byte> bytes, std::int64_t offset) override {
    return pass(
        "pwrite", [&] { return real_.pwrite(fd, bytes, offset); },
        [&] { return real_.pwrite(fd, bytes.first(bytes.size() / 2), offset); });
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
    return pass("fsync", [&] {
      const bool is_lacking = lacks_ == (is_folder(fd) ? "folders" : "files") ||
                              (lacks_ == "run" && is_at(fd, run_));
      return is_lacking ? 0 : real_.fsync(fd);
    });
  }
  int rename(const fs::path& from, const fs::path& to) override {
    return pass("rename", [&] { return real_.rename(from, to); });
  }
  int make_directory(const fs::path& path) override {
    return pass("make_directory", [&] { return real_.make_directory(path); });
  }
  int unlink(const fs::path& path) override {
    return pass("unlink", [&] { return real_.unlink(path); });
  }
  int remove_directory(const fs::path& path) override {
    return pass("remove_directory", [&] { return real_.remove_directory(path); });
  }
  int list(const fs::path& path, std::vector<checkpoints::DirectoryEntry>& entries) override {
    return pass("list", [&] { return real_.list(path, entries); });
  }

 private:
  template <typename Call>
  auto pass(std::string_view kind, Call call) -> decltype(call()) {
    return pass(kind, call, call);
  }
  template <typename Call, typename Half>
  auto pass(std::string_view kind, Call call, Half half) -> decltype(call()) {
    if (num_calls_++ != call_) return call();
    tell("at " + std::string{kind});
    if (end_ == "cut-log") cut_power(run_, kWithJournal);
    if (end_ == "cut") cut_power(run_, kWithoutJournal);
    if (end_ == "during") half();
    ::kill(::getpid(), SIGKILL);
    std::abort();  // nothing comes behind a SIGKILL to oneself
  }

  checkpoints::FileOps& real_ = checkpoints::real_file_ops();
  std::atomic<long> num_calls_{0};
  fs::path run_;
  long call_;
  std::string end_, lacks_;
};

class Silence final : public Logger {
 public:
  void write(LogLevel, std::string_view) override {}
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7 && argc != 8) return 64;
  const fs::path run = argv[1];
  const int ranks = std::atoi(argv[2]);
  const long first_step = std::atol(argv[3]), num_saves = std::atol(argv[4]);
  DeadlyFileOps files{run, std::atol(argv[5]), argv[6], argc == 8 ? argv[7] : ""};
  Silence log;
  distributed::ThreadWorld{ranks}.run([&](Communicator& comm) {
    checkpoints::StoreOptions options{run, /*save_total_limit=*/2};
    options.log_file = testing::kLog;
    checkpoints::Hdf5CheckpointStore store{comm, log, options, &files};
    testing::find_newest(store);
    if (comm.rank() == 0) fs::create_directories(run);
    for (long step = first_step; step < first_step + num_saves; ++step) {
      auto tensors = testing::sample_tensors(static_cast<unsigned>(step));
      auto content = testing::content_of(tensors, step, static_cast<unsigned>(step));
      content.add_files = [&](const fs::path& folder) {
        std::ofstream{folder / "config.json"} << testing::state_of(static_cast<unsigned>(step));
      };
      if (comm.rank() == 0) std::ofstream{run / testing::kLog, std::ios::app} << step << '\n';
      store.start_save(content);
      tensors.clear_bytes();  // what is written is a copy
      store.finish_save();
      if (comm.rank() == 0) tell("saved " + std::to_string(step));
    }
  });
}

// A run that saves checkpoints by the shipping store, and ends itself by SIGKILL in the midst of one of
// its calls to the file system. kill_test.cpp looks at what it leaves.
//
//   kill_victim RUN_DIRECTORY RANKS FIRST_STEP NUM_SAVES CALL before|during
//
// Standard output: "saved STEP" for each save that returned; before the end "at KIND" of the call.
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <string>
#include <string_view>

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

/// The real file system up to one call. "before": that call is not made; "during": it is made, a
/// write by half, and nobody hears of it.
class DeadlyFileOps final : public checkpoints::FileOps {
 public:
  DeadlyFileOps(long call, bool during) : call_(call), during_(during) {}

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
    return pass("fsync", [&] { return real_.fsync(fd); });
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
    if (during_) half();
    ::kill(::getpid(), SIGKILL);
    std::abort();  // nothing comes behind a SIGKILL to oneself
  }

  checkpoints::FileOps& real_ = checkpoints::real_file_ops();
  std::atomic<long> num_calls_{0};
  long call_;
  bool during_;
};

class Silence final : public Logger {
 public:
  void write(LogLevel, std::string_view) override {}
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) return 64;
  const fs::path run = argv[1];
  const int ranks = std::atoi(argv[2]);
  const long first_step = std::atol(argv[3]), num_saves = std::atol(argv[4]);
  DeadlyFileOps files{std::atol(argv[5]), std::string_view{argv[6]} == "during"};
  Silence log;
  distributed::ThreadWorld{ranks}.run([&](Communicator& comm) {
    checkpoints::Hdf5CheckpointStore store{comm, log, {run, /*save_total_limit=*/2}, &files};
    store.find_newest();
    for (long step = first_step; step < first_step + num_saves; ++step) {
      auto tensors = testing::sample_tensors(static_cast<unsigned>(step));
      store.save(testing::content_of(tensors, step, static_cast<unsigned>(step)));
      if (comm.rank() == 0) tell("saved " + std::to_string(step));
    }
  });
}

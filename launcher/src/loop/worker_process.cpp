#include "worker_process.hpp"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <thread>
#include <utility>

#include "spawn.hpp"

namespace hone::launcher {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMaxLineBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxStderrTail = 4096;
constexpr milliseconds kGrace{1000};       ///< for a worker whose pipes closed to be seen ended
constexpr milliseconds kLongestPoll{100};  ///< a death with an open pipe is noticed this late
constexpr milliseconds kGoodbye{500};      ///< for an idle worker to end once its input closes

/// Turns SIGPIPE into EPIPE for this thread and scope, whatever the process does with the signal.
class SigpipeAsError {
 public:
  SigpipeAsError() {
    ::sigemptyset(&sigpipe_);
    ::sigaddset(&sigpipe_, SIGPIPE);
    was_pending_ = is_pending();
    ::pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
  }
  ~SigpipeAsError() {
    const timespec no_wait{0, 0};
    if (!was_pending_ && is_pending()) ::sigtimedwait(&sigpipe_, nullptr, &no_wait);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SigpipeAsError(const SigpipeAsError&) = delete;
  SigpipeAsError& operator=(const SigpipeAsError&) = delete;

 private:
  static bool is_pending() {
    sigset_t pending;
    ::sigpending(&pending);
    return ::sigismember(&pending, SIGPIPE) == 1;
  }

  sigset_t sigpipe_{};
  sigset_t before_{};
  bool was_pending_ = false;
};

/// Appends what one read gives, if any (then true); closes `fd` at the end of its stream.
bool read_some(FileDescriptor& fd, std::string& into) {
  if (!fd.is_open()) return false;
  std::array<char, 65'536> buffer;
  const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
  if (count > 0) into.append(buffer.data(), static_cast<std::size_t>(count));
  if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) fd.reset();
  return count > 0;
}

/// The child's state, leaving it unreaped: its process id, and so its group's, stays ours to
/// signal.
siginfo_t peek(pid_t pid) {
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 &&
      errno == ECHILD) {
    info.si_pid = pid;  // somebody ignores SIGCHLD: the kernel reaped it
  }
  return info;
}

}  // namespace

WorkerProcess::WorkerProcess(const std::vector<std::string>& argv) {
  SpawnedChild child = spawn(argv);
  pid_ = child.pid;
  stdin_ = std::move(child.stdin_writer);
  stdout_ = std::move(child.stdout_reader);
  stderr_ = std::move(child.stderr_reader);
}

WorkerProcess::~WorkerProcess() {
  stdin_.reset();
  ends_within(kGoodbye);
  kill();
  ::waitpid(pid_, nullptr, 0);
}

void WorkerProcess::kill() { ::killpg(pid_, SIGKILL); }

bool WorkerProcess::has_ended() const { return peek(pid_).si_pid == pid_; }

bool WorkerProcess::ends_within(milliseconds limit) const {
  const auto deadline = Clock::now() + limit;
  while (!has_ended()) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(milliseconds{2});
  }
  return true;
}

std::string WorkerProcess::how_it_ended() const {
  const siginfo_t info = peek(pid_);
  if (info.si_code == CLD_EXITED) return "exit status " + std::to_string(info.si_status);
  if (info.si_code != CLD_KILLED && info.si_code != CLD_DUMPED) return "unknown status";
  return "signal " + std::to_string(info.si_status) + " (" + ::strsignal(info.si_status) + ")";
}

std::optional<std::string> WorkerProcess::take_line() {
  const auto end = output_.find('\n', taken_);
  if (end == std::string::npos) return std::nullopt;
  std::string line = output_.substr(taken_, end - taken_);
  taken_ = end + 1;
  return line;
}

std::string WorkerProcess::unread_output() {
  read_output();
  return output_.substr(taken_);
}

const std::string& WorkerProcess::stderr_tail() {
  read_stderr();
  return stderr_tail_;
}

bool WorkerProcess::read_output() {
  output_.erase(0, std::exchange(taken_, 0));
  return read_some(stdout_, output_);
}

void WorkerProcess::read_stderr() {
  read_some(stderr_, stderr_tail_);
  if (stderr_tail_.size() > kMaxStderrTail) {
    stderr_tail_.erase(0, stderr_tail_.size() - kMaxStderrTail);
  }
}

void WorkerProcess::write_some(std::string_view& input) {
  if (input.empty() || !stdin_.is_open()) return;
  const SigpipeAsError guard;
  const ssize_t count = ::write(stdin_.get(), input.data(), input.size());
  if (count > 0) input.remove_prefix(static_cast<std::size_t>(count));
  if (count < 0 && errno != EAGAIN && errno != EINTR) stdin_.reset();
}

void WorkerProcess::wait_for_io(bool has_input, Clock::time_point deadline) {
  std::array<pollfd, 3> fds{{{has_input ? stdin_.get() : -1, POLLOUT, 0},
                             {stdout_.get(), POLLIN, 0},
                             {stderr_.get(), POLLIN, 0}}};
  const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
  const auto wait = std::clamp(left, milliseconds{0}, kLongestPoll);
  ::poll(fds.data(), fds.size(), static_cast<int>(wait.count()));
}

std::optional<WorkerProcess::Event> WorkerProcess::early_close(std::string_view input) const {
  if (!stdout_.is_open()) return Event::OutputClosed;
  if (!stdin_.is_open() && !input.empty()) return Event::InputClosed;
  return std::nullopt;
}

WorkerProcess::Answer WorkerProcess::next_line(std::string_view& input,
                                               Clock::time_point deadline) {
  for (;;) {
    if (auto line = take_line()) return {Event::Line, std::move(*line)};
    const bool ended = has_ended();  // asked before reading: what it wrote is then in the pipe
    const bool got_more = read_output();
    read_stderr();
    if (output_.find('\n') != std::string::npos) continue;
    if (output_.size() > kMaxLineBytes) return {Event::LineTooLong, {}};
    if ((ended || !stdout_.is_open()) && !got_more) {
      if (!output_.empty()) return {Event::Line, std::exchange(output_, {})};
      if (ended) return {Event::Ended, {}};
    }
    if (const auto event = early_close(input)) {
      // An exit closes the pipes a moment before it can be seen itself.
      if (!ends_within(kGrace)) return {*event, {}};
      continue;
    }
    if (Clock::now() >= deadline) return {Event::TimedOut, {}};
    write_some(input);
    wait_for_io(!input.empty(), deadline);
  }
}

}  // namespace hone::launcher

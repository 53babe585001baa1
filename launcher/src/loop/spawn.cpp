#include "spawn.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"

namespace hone::launcher {
namespace {

constexpr int kFirstFreeDescriptor = 3;

/// A pipe whose ends are never 0, 1 or 2, so that the child can move them there safely.
struct Pipe {
  FileDescriptor reader;
  FileDescriptor writer;
};

FileDescriptor above_standard(int fd) {
  if (fd >= kFirstFreeDescriptor) return FileDescriptor{fd};
  const FileDescriptor low{fd};
  return FileDescriptor{::fcntl(fd, F_DUPFD_CLOEXEC, kFirstFreeDescriptor)};
}

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw LaunchError(std::string{"cannot make a pipe for the reward command: "} +
                      std::strerror(errno));
  }
  Pipe pipe{above_standard(ends[0]), above_standard(ends[1])};
  if (!pipe.reader.is_open() || !pipe.writer.is_open()) {
    throw LaunchError("cannot make a pipe for the reward command: too many open files");
  }
  return pipe;
}

void set_nonblocking(const FileDescriptor& fd) {
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

bool belongs_to_a_launcher(std::string_view variable) {
  for (const std::string_view prefix : {"OMPI_", "OPAL_", "PMIX_", "PMI_", "PRTE_", "ORTE_"}) {
    if (variable.starts_with(prefix)) return true;
  }
  return false;
}

std::vector<std::string> worker_environment() {
  std::vector<std::string> variables;
  for (char** each = environ; *each != nullptr; ++each) {
    if (!belongs_to_a_launcher(*each)) variables.emplace_back(*each);
  }
  if (std::getenv("PYTHONUNBUFFERED") == nullptr) variables.emplace_back("PYTHONUNBUFFERED=1");
  return variables;
}

/// The null-terminated array that exec wants; the strings stay where they are.
std::vector<char*> pointers_to(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (auto& each : strings) pointers.push_back(each.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// All that the child needs, made before it exists: between vfork and exec it may only make system
/// calls, for its memory is ours.
struct LaunchPlan {
  const char* path;
  char* const* argv;
  char* const* envp;
  int stdin_fd;
  int stdout_fd;
  int stderr_fd;
  pid_t parent;
};

void close_all_from(int first) {
  if (::close_range(static_cast<unsigned>(first), ~0U, 0) == 0) return;
  constexpr int kMostDescriptors = 65'536;  // kernels before 5.9
  for (int fd = first; fd < kMostDescriptors; ++fd) ::close(fd);
}

void reset_signals() {
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction action {};
    if (::sigaction(number, nullptr, &action) != 0) continue;
    // Ignored signals would stay ignored in the program; handlers would run in our memory.
    if (action.sa_handler == SIG_DFL) continue;
    action = {};
    action.sa_handler = SIG_DFL;
    ::sigaction(number, &action, nullptr);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void become(const LaunchPlan& plan, volatile int& failure) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != plan.parent) ::_exit(127);  // it died before the line above took effect
  ::dup2(plan.stdin_fd, STDIN_FILENO);
  ::dup2(plan.stdout_fd, STDOUT_FILENO);
  ::dup2(plan.stderr_fd, STDERR_FILENO);
  close_all_from(kFirstFreeDescriptor);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  reset_signals();
  ::execve(plan.path, plan.argv, plan.envp);
  failure = errno;
  ::_exit(127);
}

/// Returns in the parent once the child has become the program or failed to (`failure`).
[[gnu::noinline]] pid_t vfork_and_become(const LaunchPlan& plan, volatile int& failure) {
  const pid_t pid = ::vfork();
  if (pid == 0) become(plan, failure);
  return pid;
}

pid_t start_child(const LaunchPlan& plan, int& failure) {
  // No handler of ours may run in the child while it shares our memory.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  volatile int exec_errno = 0;
  const pid_t pid = vfork_and_become(plan, exec_errno);
  failure = pid < 0 ? errno : exec_errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return pid;
}

std::string start_complaint(const std::string& program, int failure) {
  return "the reward command " + printable(program) +
         " cannot be started: " + std::strerror(failure) +
         (failure == ENOEXEC ? " (a script begins with #! and its interpreter)" : "") +
         (failure == ENOENT ? " (does the interpreter after #! exist?)" : "");
}

bool is_executable_file(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0;
}

}  // namespace

std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    if (is_executable_file(name)) return name;
    const bool exists = std::filesystem::exists(name);
    throw ConfigError("reward.command: " + printable(name) +
                      (exists ? " is not an executable file (chmod +x it, or name its interpreter: "
                                "[python3, score.py])"
                              : ": no such program"));
  }
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "/usr/bin:/bin" : path;
  while (!name.empty() && !rest.empty()) {
    const auto colon = rest.find(':');
    const std::filesystem::path folder{rest.substr(0, colon)};
    if (is_executable_file(folder / name)) return (folder / name).string();
    rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon + 1);
  }
  throw ConfigError("reward.command: no program \"" + printable(name) +
                    "\" in PATH; a file in this folder is written ./" + printable(name));
}

SpawnedChild spawn(const std::vector<std::string>& argv) {
  const std::string program = find_program(argv.front());
  auto arguments = argv;
  auto variables = worker_environment();
  const auto argument_pointers = pointers_to(arguments);
  const auto variable_pointers = pointers_to(variables);
  Pipe in = make_pipe();
  Pipe out = make_pipe();
  Pipe err = make_pipe();
  const LaunchPlan plan{program.c_str(), argument_pointers.data(), variable_pointers.data(),
                        in.reader.get(), out.writer.get(),         err.writer.get(),
                        ::getpid()};
  int failure = 0;
  const pid_t pid = start_child(plan, failure);
  if (pid > 0 && failure == 0) {
    for (const auto* end : {&in.writer, &out.reader, &err.reader}) set_nonblocking(*end);
    return {pid, std::move(in.writer), std::move(out.reader), std::move(err.reader)};
  }
  if (pid > 0) ::waitpid(pid, nullptr, 0);
  throw LaunchError(start_complaint(program, failure));
}

}  // namespace hone::launcher

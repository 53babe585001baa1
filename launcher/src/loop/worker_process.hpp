#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hone/core/files/file_descriptor.hpp"

namespace hone::launcher {

/// The program's path: `name` itself where it has a slash, else found in PATH.
/// Throws: ConfigError where there is no such executable file.
std::string find_program(const std::string& name);

/// A child process with pipes to its three standard streams, in a process group of its own. The
/// destructor closes its input, gives it a moment to end, then kills the group and reaps the child.
///
/// Not posix_spawn, which can neither bind the child's life to ours (PR_SET_PDEATHSIG) nor close
/// what a library left open; and not fork, which copies the page tables of a process that may hold
/// many gigabytes and memory registered for MPI. vfork runs the child in our address space until it
/// execs, which is safe after MPI_Init too.
class WorkerProcess {
 public:
  using Clock = std::chrono::steady_clock;

  /// Throws: LaunchError where the process cannot be made.
  explicit WorkerProcess(const std::vector<std::string>& argv);
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  enum class Event {
    Line,          ///< a line of its output came: see `line`
    Ended,         ///< it has exited and all its output was read
    OutputClosed,  ///< it closed its standard output but goes on
    InputClosed,   ///< it closed its standard input before all was written, but goes on
    TimedOut,
    LineTooLong,
  };
  struct Answer {
    Event event;
    std::string line;
  };

  /// Writes what is left of `input` while reading, until there is a line (without its end) or
  /// something else to tell.
  Answer next_line(std::string_view& input, Clock::time_point deadline);

  /// What has arrived beyond the lines given out, without waiting.
  std::string unread_output();

  /// True where the child has exited (it stays unreaped until destruction).
  bool has_ended() const;
  /// "exit status 1", "signal 11 (Segmentation fault)"; only once it has ended.
  std::string how_it_ended() const;
  /// The end of what it has written to standard error, some kilobytes at most.
  const std::string& stderr_tail();

  /// Kills the whole process group at once.
  void kill();

 private:
  std::optional<std::string> take_line();
  /// The stream that the child closed too early, if it did.
  std::optional<Event> early_close(std::string_view input) const;
  void write_some(std::string_view& input);
  /// True where something came.
  bool read_output();
  void read_stderr();
  void wait_for_io(bool has_input, Clock::time_point deadline);
  bool ends_within(std::chrono::milliseconds limit) const;

  pid_t pid_ = -1;
  FileDescriptor stdin_;
  FileDescriptor stdout_;
  FileDescriptor stderr_;
  std::string output_;
  std::size_t taken_ = 0;  ///< bytes of output_ given out already
  std::string stderr_tail_;
};

}  // namespace hone::launcher

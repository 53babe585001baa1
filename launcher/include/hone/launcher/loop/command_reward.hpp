#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hone/launcher/loop/reward.hpp"

namespace hone::launcher {

class WorkerProcess;

/// A reward that any program in any language computes: one long-lived worker process per rank, JSON
/// lines in, JSON lines out.
///
/// In, one line per completion, on its standard input:
///   {"index": 0, "prompt": "...", "completion": "...", "row": {the prompt's line of the file}}
/// Out, one line per completion in the same order, on its standard output:
///   0.5   or   {"reward": 0.5}   or   {"index": 0, "reward": 0.5} (then the index is checked)
/// `index` counts from 0 in each call. The worker answers as it reads, flushes every line, goes on
/// until its input ends, and logs to standard error, whose last lines appear in error messages.
/// Prompts never appear on a command line, and no shell reads the command.
///
/// A worker that ended by itself after its last answer is started anew by the next call. One that
/// dies, is silent beyond the timeout, or answers anything else is killed with its whole process
/// group, and score() throws.
class CommandReward final : public Reward {
 public:
  /// `argv`: program and arguments; a program without a slash is searched in PATH.
  /// `timeout`: for all answers of one call, the start of a new worker included.
  /// Throws: ConfigError for an empty command, a timeout below 1 ms, or a program that is not found
  /// or not executable.
  CommandReward(std::vector<std::string> argv, std::chrono::milliseconds timeout);
  ~CommandReward() override;

  /// Starts the worker. Early and from the main thread: the kernel kills a rank's worker when the
  /// thread that started it ends, however it ends. (What the worker itself has started outlives a
  /// rank that is killed; it does not outlive one that ends.) Throws: LaunchError.
  void start() override;

  /// Finds a worker that ended before it was asked anything: a script that does not exist.
  void require_ready() override;

  /// Throws: InputError that names the command, the completion, what came back and the last lines
  /// of the worker's standard error; LaunchError where a worker cannot be started.
  std::vector<double> score(std::span<const Completion> completions) override;

 private:
  /// None where the worker had ended after an earlier call, which may show only when it is written
  /// to.
  std::optional<std::vector<double>> answers(std::span<const Completion> completions);
  void require_nothing_more();
  [[noreturn]] void fail(const std::string& problem);

  std::vector<std::string> argv_;
  std::chrono::milliseconds timeout_;
  std::unique_ptr<WorkerProcess> worker_;
  bool has_answered_ = false;  ///< this worker, a whole call
};

}  // namespace hone::launcher

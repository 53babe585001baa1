#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>
#include <string_view>

#include "hone/core/communicator.hpp"
#include "hone/core/logger.hpp"
#include "hone/core/stop_signal.hpp"
#include "hone/distributed/communicator_factory.hpp"
#include "hone/distributed/device.hpp"
#include "hone/distributed/flight_recorder.hpp"
#include "hone/distributed/mpi_environment.hpp"
#include "hone/launcher/control_channel.hpp"
#include "hone/launcher/launch_environment.hpp"
#include "hone/launcher/rank_logger.hpp"
#include "hone/launcher/screen.hpp"
#include "hone/launcher/signal_watcher.hpp"

namespace hone {

class OptionGroup;

namespace launcher {

class Deadline;
class Engine;
class ExitMeeting;
struct Failure;

/// About ranks that die, hang, or are out of step.
struct WatchOptions {
  std::string watchdog = "abort";  ///< what is done about them: abort, report or off
  /// Seconds that ranks wait for another before the job ends. Null: as WatchdogOptions says.
  std::optional<double> ddp_timeout = {};
  /// Rank 0's, where the job has several hosts; empty: by itself.
  std::string control_interface = {};

  void bind(OptionGroup& group);
};

/// What a command decides about its session; the names are those of the options.
struct SessionOptions {
  bool use_cpu = false;
  std::string ddp_backend = "auto";
  /// Of logs and exit records; may come later by open_logs().
  std::filesystem::path output_dir = {};
  /// Where exit records go if the job ends before open_logs(), unless a run has the folder then.
  std::filesystem::path run_directory = {};
  std::optional<std::int64_t> num_threads = {};
  bool bind_threads = true;  ///< share the node's cores out where the launcher has not
  bool allow_shared_device = false;  ///< two ranks may compute on one GPU
  WatchOptions watch = {};
  /// Make stop requests of signals. False where there is nothing to save: a signal ends the
  /// process.
  bool watch_signals = true;
  /// Told the number of compute threads of this rank, before anything computes.
  std::function<void(int)> set_num_threads = {};
};

/// The composition root of a job: signals, MPI, communicator, thread binding, logs, and a common
/// end.
///
/// Collective: construction, run() and destruction, over all ranks of the job.
/// Thread-safety: the thread that constructed it; log(), screen() and stop_signal() from any
/// thread.
class Session {
 public:
  /// Signals are watched from here on, before MPI starts. Ownership: `screen` outlives the session.
  /// Throws: LaunchError where srun has no PMIx, MPI or the backend cannot be had, ranks were given
  /// different options, or one of them does not come to the control channel; ConfigError for an
  /// unknown backend or watchdog. All ranks throw alike, and MPI is over then; what befalls one of
  /// several ranks ends the job here.
  Session(const SessionOptions& options, const LaunchEnvironment& environment, Screen& screen);
  ~Session();

  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  int rank() const { return rank_; }
  int size() const { return mpi_->size(); }
  int local_rank() const { return mpi_->local_rank(); }
  bool is_root() const { return rank() == 0; }
  const std::string& host_name() const { return mpi_->host_name(); }

  Communicator& communicator() { return *communicator_; }
  Logger& log() { return log_; }
  Screen& screen() { return screen_; }
  /// Null where signals are not watched.
  StopSignal* stop_signal() { return signals_.get(); }

  /// Where this rank computes.
  distributed::Device& device();
  /// Sums buffers that lie there: gradients. On a CPU the same as communicator().
  Communicator& device_communicator();
  /// Compute threads of this rank.
  int num_threads() const { return num_threads_; }
  /// "4 ranks on 2 nodes, cpu, mpi, 8 threads each".
  std::string describe() const;

  /// Logs to `<output_dir>/logs/rank-N.log`; exit records will go to `<output_dir>/exit/`. Warns
  /// where that is not possible. What was logged before comes first in the file.
  void open_logs(const std::filesystem::path& output_dir);

  /// Optimizer updates applied so far, for the exit record.
  void note_step(std::int64_t step) { recorder_.note_step(step); }
  /// Told what this rank is at; what it says is seen where others wait for this rank.
  Activity& activity() { return recorder_; }

  /// Runs the command's body and ends the job: returns the same exit code on all ranks, after MPI
  /// is finalized. An exception of the body becomes its exit code and one block on standard error,
  /// by the lowest rank that failed of itself. Where one rank fails alone and the others are in a
  /// collective, that rank says so and ends the whole job with its code (MPI_Abort). Call it once.
  int run(const std::function<int()>& body);

 private:
  using Seconds = std::chrono::duration<double>;

  std::unique_ptr<Deadline> deadline(Seconds patience, std::function<void()> on_late) const;
  void end_late_start();
  void start(const SessionOptions& options, const LaunchEnvironment& environment,
             distributed::Backend backend);
  void bind_threads(const SessionOptions& options, const LaunchEnvironment& environment);
  void tell_of_others(const std::vector<std::string>& machines, const std::string& own);
  void require_one(const std::string& option, const std::string& mine);
  void watch_ranks(const WatchOptions& options);
  void end_now(const EndOfJob& end);
  int leave(int code, const std::optional<Failure>& failure);
  [[noreturn]] void leave_alone(const Failure& failure);
  void end(int code, const std::optional<Failure>& failure);
  void close_engine();
  void report(const Failure& failure);
  void write_record(int code, const std::optional<Failure>& failure);
  std::string tag() const;

  Screen& screen_;
  RankLogger log_;
  std::atomic<int> rank_;  ///< the launcher's word for it until MPI has begun
  std::unique_ptr<SignalWatcher> signals_;
  std::unique_ptr<distributed::MpiEnvironment> mpi_;
  std::unique_ptr<ExitMeeting> meeting_;
  distributed::FlightRecorder recorder_;
  std::unique_ptr<Communicator> communicator_;
  std::unique_ptr<Engine> engine_;
  /// Of what follows and of exit records: the control channel's thread writes one too.
  std::mutex record_mutex_;
  std::filesystem::path output_dir_;
  const std::filesystem::path run_directory_;
  std::string root_process_;  ///< rank 0's, as the lock of the run directory names it
  int num_threads_ = 1;
  int num_nodes_ = 1;
  WatchdogMode mode_ = WatchdogMode::Abort;
  Seconds unwatched_;  ///< that MPI's start and end may take
  std::unique_ptr<Deadline> start_;  ///< of MPI's start, until the ranks begin to meet at the control channel
  std::unique_ptr<ControlChannel> control_;  ///< ends before what it uses; null for one rank
};

}  // namespace launcher
}  // namespace hone

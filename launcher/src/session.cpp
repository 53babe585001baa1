#include "hone/launcher/session.hpp"

#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "counted.hpp"
#include "deadline.hpp"
#include "engine.hpp"
#include "exit_meeting.hpp"
#include "guarded.hpp"
#include "hone/core/error.hpp"
#include "hone/distributed/watched_communicator.hpp"
#include "hone/launcher/cpu_topology.hpp"
#include "hone/launcher/exit_record.hpp"
#include "hone/launcher/failure.hpp"
#include "hone/launcher/loop/run_lock.hpp"
#include "hone/launcher/thread_plan.hpp"

namespace hone::launcher {
namespace {

/// How long a failed rank waits for the others to fail as well. Ranks that fail alike (the same
/// missing file, an agreed error) come within milliseconds.
constexpr std::chrono::milliseconds kPatience{3000};
/// For a log line, a record and a word on the screen, when a rank's failure ends the job.
constexpr std::chrono::seconds kLastWords{2};
/// What MPI's start may take, and its end, where --ddp_timeout does not say, and at the least.
constexpr std::chrono::duration<double> kUnwatched{300};
constexpr std::chrono::duration<double> kLeastUnwatched{15};
/// After the loss of a peer.
constexpr const char* kResumeAdvice =
    "\nGo on from the newest checkpoint: the same command with --resume_from_checkpoint auto";

/// Containers on several machines may have one name.
std::string machine_of(const std::string& host_name) {
  std::ifstream file{"/proc/sys/kernel/random/boot_id"};
  std::string boot_id;
  std::getline(file, boot_id);
  return host_name + ' ' + boot_id;
}

std::string name_of(const std::string& machine) { return machine.substr(0, machine.find(' ')); }

/// For the other ranks' failures, after this one's; null where it did not fail, for there is nothing
/// to be told before them. A rank that lost another lets the one that knows the cause go first.
std::optional<std::chrono::milliseconds> patience_after(const std::optional<Failure>& failure) {
  if (!failure) return std::nullopt;
  return failure->code == static_cast<int>(ExitCode::Stopped) ? 2 * kPatience : kPatience;
}

/// After the last words, whatever a stalled disk or screen does to them.
void exit_soon(int code, std::chrono::seconds patience = kLastWords) {
  std::thread{[code, patience] {
    std::this_thread::sleep_for(patience);
    _exit(code);
  }}.detach();
}

}  // namespace

Session::Session(const SessionOptions& options, const LaunchEnvironment& environment,
                 Screen& screen)
    : screen_(screen),
      log_([&screen](std::string_view line) { screen.print_error(line); }),
      rank_(environment.rank),
      run_directory_(options.run_directory),
      mode_(parse_watchdog_mode(options.watch.watchdog)),
      unwatched_(options.watch.ddp_timeout
                     ? std::max(kLeastUnwatched, Seconds{*options.watch.ddp_timeout})
                     : kUnwatched) {
  log_.set_rank(environment.rank, "");
  if (options.watch_signals) {
    signals_ = std::make_unique<SignalWatcher>([this](std::string_view note) { log_.info(note); });
  }
  require_pmix(environment);
  const auto backend = distributed::parse_backend(options.ddp_backend);
  recorder_.enter("start");
  start_ = deadline(unwatched_, [this] { end_late_start(); });
  mpi_ = std::make_unique<distributed::MpiEnvironment>();
  rank_ = mpi_->rank();
  try {
    communicator_ = std::make_unique<distributed::WatchedCommunicator>(
        distributed::make_communicator(backend, *mpi_), recorder_);
    start(options, environment, backend);
  } catch (const LaunchError&) {
    // The same on all ranks: they can still leave in order, with the error's own exit code.
    start_.reset();
    const auto failure = describe_failure(std::current_exception());
    write_record(failure.code, failure);
    end(failure.code, failure);
    throw;
  } catch (...) {
    // One rank's own trouble, which ends the job.
    start_.reset();
    const auto failure = describe_failure(std::current_exception());
    if (size() > 1) leave_alone(failure);
    write_record(failure.code, failure);
    throw;
  }
}

Session::~Session() = default;

void Session::start(const SessionOptions& options, const LaunchEnvironment& environment,
                    distributed::Backend backend) {
  if (!is_root()) screen_.mute_output();
  log_.set_rank(rank(), host_name());
  if (size() > 1) {
    meeting_ = std::make_unique<ExitMeeting>();
    communicator_->barrier();
  }
  const auto root_process = broadcast_string(*communicator_, RunLock::owner_name());
  {
    const std::scoped_lock lock{record_mutex_};
    root_process_ = root_process;
  }
  if (size() > 1) {
    require_one("--watchdog", options.watch.watchdog);
    require_one("--ddp_backend", options.ddp_backend);
    require_one("--allow_shared_device", options.allow_shared_device ? "true" : "false");
  }
  start_.reset();  // the control channel's rendezvous has its own limits, and names who is missing
  watch_ranks(options.watch);
  const std::string lone = lone_process_warning(environment, size());
  if (!lone.empty()) log_.warning(lone);
  engine_ = std::make_unique<Engine>(
      EngineOptions{.use_cpu = options.use_cpu,
                    .allow_shared_device = options.allow_shared_device,
                    .backend = backend,
                    .timeout = options.watch.ddp_timeout},
      *mpi_, *communicator_, recorder_, log_);
  recorder_.enter("start");
  bind_threads(options, environment);
  if (!options.output_dir.empty()) open_logs(options.output_dir);
}

/// Of what the watchdog cannot see. Null where nobody is to look.
std::unique_ptr<Deadline> Session::deadline(Seconds patience, std::function<void()> on_late) const {
  if (mode_ == WatchdogMode::Off) return nullptr;
  return std::make_unique<Deadline>(patience, std::move(on_late));
}

/// Of MPI nothing can be asked here: it may be what hangs.
void Session::end_late_start() {
  const Failure failure{
      static_cast<int>(ExitCode::Environment),
      "the ranks of this job have not met within " +
          std::to_string(static_cast<int>(unwatched_.count())) +
          " s: MPI waits for a rank that is stopped, hangs before it or did not start. Look at the "
          "ranks' processes on their hosts; a larger --ddp_timeout gives them more time"};
  if (mode_ == WatchdogMode::Report) return log_.warning(failure.message);
  // One tells: the lowest rank that can. With it mpirun ends the others, whose records are written
  // by then.
  const auto turn = kStartSpread + std::min(rank(), 2) * kLastWords;
  exit_soon(failure.code, turn + kLastWords);
  write_record(failure.code, failure);
  std::this_thread::sleep_for(turn);
  log_.record(LogLevel::Error, failure.message);
  screen_.print_error(error_block(failure, "[rank " + std::to_string(rank()) + "] ", log_.file()));
  _exit(failure.code);
}

/// Of what decides whether a rank opens the channel, or fails at its start: where ranks differ, one
/// would wait for ever for another. All other options are compared later.
void Session::require_one(const std::string& option, const std::string& mine) {
  const auto all = all_gather_strings(*communicator_, mine);
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    throw LaunchError{"rank " + std::to_string(rank) + " was given " + option + ' ' + all[rank] +
                          ", rank 0 " + option + ' ' + all[0] + ". Give all ranks the same",
                      ExitCode::Usage};
  }
}

void Session::watch_ranks(const WatchOptions& options) {
  if (size() == 1 || mode_ == WatchdogMode::Off) return;
  ControlOptions control{.mode = mode_, .interface = options.control_interface};
  if (options.ddp_timeout) control.watchdog.timeout = Seconds{*options.ddp_timeout};
  control_ = open_control_channel(
      *communicator_, "rank " + std::to_string(rank()) + " @ " + host_name(),
      machine_of(host_name()), recorder_, std::move(control),
      {.report = [this](std::string_view text) { log_.warning(text); },
       .end = [this](const EndOfJob& end) { end_now(end); }});
}

/// On the channel's thread, while this rank may be in a collective that never ends.
void Session::end_now(const EndOfJob& end) {
  exit_soon(end.code);
  const bool may_resume = end.code == static_cast<int>(ExitCode::Stopped);
  const Failure failure{end.code, end.cause + (may_resume ? kResumeAdvice : "")};
  write_record(end.code, failure);  // first: the log may wait for a screen that nobody reads
  log_.record(LogLevel::Error, end.cause);
  const int teller = end.rank == 0 ? 1 : 0;
  if (!end.told && rank() == teller) screen_.print_error(error_block(failure, "", log_.file()));
  _exit(end.code);  // exit() would run handlers that wait for the other threads
}

void Session::bind_threads(const SessionOptions& options, const LaunchEnvironment& environment) {
  const CpuList mask = affinity_of_this_process();
  const auto machines = all_gather_strings(*communicator_, machine_of(host_name()));
  const auto masks = all_gather_strings(*communicator_, print_cpus(mask));
  ThreadPlanInputs inputs{.available = affinity_of_parent(),
                          .quota = cpu_quota(),
                          .omp_num_threads = environment.omp_num_threads,
                          .requested = options.num_threads,
                          .cores = {}};
  if (options.bind_threads) inputs.cores = by_core(mask);
  inputs.take_masks(machines, masks, static_cast<std::size_t>(rank()));
  num_nodes_ = static_cast<int>(std::set(machines.begin(), machines.end()).size());
  const ThreadPlan plan = plan_threads(inputs);
  num_threads_ = plan.num_threads;
  if (!plan.warning.empty()) log_.warning(plan.warning);
  tell_of_others(machines, plan.warning);
  if (!plan.cpus.empty() && !bind_this_thread(plan.cpus)) {
    log_.warning("the kernel does not let this rank bind to cores " + print_cpus(plan.cpus));
  }
  log_.debug("cores " + print_cpus(affinity_of_this_process()) + ", " +
             counted(num_threads_, "thread"));
  if (options.set_num_threads) options.set_num_threads(num_threads_);
}

/// On rank 0: the first warning of each machine, since other ranks' go to their logs alone.
void Session::tell_of_others(const std::vector<std::string>& machines, const std::string& own) {
  const auto warnings = all_gather_strings(*communicator_, own);
  std::set<std::string> told;
  for (std::size_t i = 0; i < machines.size() && is_root(); ++i) {
    if (warnings[i].empty() || !told.insert(machines[i]).second || i == 0) continue;
    log_.warning("rank " + std::to_string(i) + " @ " + name_of(machines[i]) + ": " + warnings[i]);
  }
}

distributed::Device& Session::device() { return engine_->device(); }

Communicator& Session::device_communicator() { return engine_->communicator(); }

std::string Session::describe() const {
  std::string text = counted(size(), "rank");
  if (size() > 1) text += " on " + counted(num_nodes_, "node");
  text += ", " + std::string{engine_->device().kind()} + ", ";
  if (size() > 1) text += std::string{engine_->backend()} + ", ";
  return text + counted(num_threads_, "thread") + (size() > 1 ? " each" : "");
}

void Session::open_logs(const std::filesystem::path& output_dir) {
  {
    const std::scoped_lock lock{record_mutex_};
    output_dir_ = output_dir;
  }
  // What an earlier run left says nothing about this one, which may be killed before it can.
  remove_old_exit_records(output_dir, rank(), size());
  log_.open(output_dir);
}

int Session::run(const std::function<int()>& body) {
  int code = 0;
  std::optional<Failure> failure;
  try {
    code = body();
  } catch (...) {
    failure = describe_failure(std::current_exception());
    code = failure->code;
  }
  return leave(code, failure);
}

int Session::leave(int code, const std::optional<Failure>& failure) {
  if (failure) {
    recorder_.enter("leaving");
    log_.record(LogLevel::Error, failure->message);
  } else {
    recorder_.leave();
  }
  std::vector<Departure> all{{code, failure.has_value()}};
  if (meeting_) {
    auto met = meeting_->meet(all.front(), patience_after(failure));
    if (!met) {
      leave_alone(failure.value_or(Failure{static_cast<int>(ExitCode::Internal),
                                           "MPI failed where the ranks meet at the end"}));
    }
    all = std::move(*met);
    recorder_.leave();  // one that failed, too, is waited for no longer
  }
  const auto teller = rank_that_tells(all);
  const int agreed = teller ? all[static_cast<std::size_t>(*teller)].code
                            : std::ranges::max(all, {}, &Departure::code).code;
  write_record(agreed, failure);  // before the report: a screen may be one that nobody reads
  if (failure && teller == rank()) report(*failure);
  end(agreed, failure);
  return agreed;
}

/// The others are elsewhere, in a collective perhaps, and must end with this rank. Once they hear of
/// it mpirun may end this one, so that its last words come before, where disk and screen take them.
void Session::leave_alone(const Failure& failure) {
  const auto end_all = [&](bool told) {
    if (control_) control_->fail(failure.code, tag() + failure.message, told);
    MPI_Abort(MPI_COMM_WORLD, failure.code);
  };
  {
    const Deadline unheard{kLastWords, [&] { end_all(/*told=*/false); }};
    write_record(failure.code, failure);
    report(failure);
  }
  end_all(/*told=*/true);
  _exit(failure.code);
}

/// All ranks come here with the same `code`, also after a start that failed alike: whatever they
/// still hang in, there is no work left.
void Session::end(int code, const std::optional<Failure>& failure) {
  const auto late = deadline(unwatched_, [this, code, failure] {
    const bool stays = mode_ == WatchdogMode::Report;
    if (!stays) exit_soon(code);
    log_.warning("MPI or NCCL does not end: a rank hangs in it" +
                 (failure ? ". Before that: " + failure->message : ""));
    if (!stays) _exit(code);
  });
  if (code == 0) close_engine();
  engine_.reset();  // before MPI, over which NCCL's ranks met
  if (control_) control_->close();
  mpi_->finalize();
}

/// The work is done and saved: what goes wrong now is for people to know.
void Session::close_engine() {
  const auto failure = failure_of([&] { engine_->close(); });
  if (failure.happened()) log_.warning("NCCL did not end in order: " + failure.message);
}

void Session::report(const Failure& failure) {
  // Errors that ranks agreed on name their rank already.
  const bool tagged = size() == 1 || failure.message.starts_with("[rank ");
  screen_.print_error(error_block(failure, tagged ? "" : tag(), log_.file()));
}

void Session::write_record(int code, const std::optional<Failure>& failure) {
  const std::scoped_lock lock{record_mutex_};
  const bool has_begun = !output_dir_.empty();
  const auto& folder = has_begun ? output_dir_ : run_directory_;
  if (folder.empty()) return;
  if (!has_begun && RunLock::is_held_by_other(folder, root_process_)) return;
  const bool stopped = code == static_cast<int>(ExitCode::Stopped);
  const std::string reason = failure   ? failure->message
                             : stopped ? "stopped"
                             : code == 0 ? "finished"
                                         : "left with the others";
  const ExitRecord record{.code = code, .reason = reason, .step = recorder_.pulse().step};
  if (!write_exit_record(folder, rank(), record) && has_begun) {
    log_.warning("exit record not written: " + (folder / "exit").string());
  }
}

std::string Session::tag() const {
  return "[rank " + std::to_string(rank()) + " @ " + host_name() + "] ";
}

}  // namespace hone::launcher

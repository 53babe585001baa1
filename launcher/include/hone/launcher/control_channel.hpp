#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "hone/core/communicator.hpp"
#include "hone/distributed/flight_recorder.hpp"
#include "hone/distributed/watchdog.hpp"

namespace hone::launcher {

/// What the watchdog does with what it finds.
enum class WatchdogMode { Abort, Report, Off };

/// "abort", "report" or "off". Throws: ConfigError naming the choices.
WatchdogMode parse_watchdog_mode(std::string_view name);

struct ControlOptions {
  WatchdogMode mode = WatchdogMode::Abort;
  distributed::WatchdogOptions watchdog = {};
  /// Network interface of rank 0 ("eth0") where the job has several hosts; empty: the first that is
  /// up.
  std::string interface = {};
  std::chrono::milliseconds heartbeat{1000};
};

/// Why the job ends before its time.
struct EndOfJob {
  int rank = 0;        ///< whose the cause is
  int code = 0;        ///< the exit code of every rank
  std::string cause;   ///< who, where, what
  bool told = false;   ///< the rank itself has told it on the screen
};

/// Called on the channel's own thread.
struct ControlHooks {
  /// Something about the job that people should know: on rank 0 about all ranks, on others the
  /// loss of rank 0.
  std::function<void(std::string_view)> report;
  /// On every rank: the process must leave now, whatever its other threads wait for.
  std::function<void(const EndOfJob&)> end;
};

/// A connection of every rank to rank 0 beside MPI and NCCL, on a thread of its own, so that it
/// works while they hang: heartbeats with what each rank is at, the first cause when the job must
/// end, and goodbyes. Both sides prove that they know a secret of this run; nothing is encrypted.
/// Rank 0 listens on 127.0.0.1 where all ranks are on its host.
/// Thread-safety: fail() and close() from any one thread.
class ControlChannel {
 public:
  virtual ~ControlChannel() = default;

  /// This rank must leave alone: all others hear `cause`, and their hooks end them with `code`.
  /// `told`: this rank has shown it, and no other is to. Returns when rank 0 has taken it in, or
  /// after a second.
  virtual void fail(int code, const std::string& cause, bool told) = 0;

  /// All ranks leave in order: nobody is missed from here on. Returns when the others know, or
  /// after a second. Collective in that every rank calls it.
  virtual void close() = 0;
};

/// Connects all ranks. `name` is this rank's in messages ("rank 3 @ node7"), `host` where it runs.
/// Collective over `comm`. Ownership: `recorder` outlives the channel.
/// Throws: LaunchError, on every rank, where ranks cannot connect, naming them and the address.
std::unique_ptr<ControlChannel> open_control_channel(Communicator& comm, const std::string& name,
                                                     const std::string& host,
                                                     const distributed::FlightRecorder& recorder,
                                                     ControlOptions options, ControlHooks hooks);

}  // namespace hone::launcher

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hone/core/error.hpp"
#include "hone/distributed/pulse.hpp"

namespace hone::distributed {

struct WatchdogOptions {
  std::chrono::duration<double> lost_after{8.0};     ///< without a heartbeat a rank is lost
  std::chrono::duration<double> report_after{10.0};  ///< a rank that others wait for is named
  /// How long ranks wait for another before the job ends. Null: while that one is in a phase that
  /// takes about as long every time, five times the 99th percentile of what the phase took so far,
  /// but at least `shortest_limit`, counted from when it entered the phase; in others, while that is
  /// not known, and however many phases it goes through, `longest_limit`.
  std::optional<std::chrono::duration<double>> timeout = std::nullopt;
  std::chrono::duration<double> shortest_limit{60.0};
  std::chrono::duration<double> longest_limit{1800.0};
};

/// Something that is wrong with the job.
struct Finding {
  bool ends_job = false;  ///< else it is for people to know
  int rank = 0;           ///< whose it is
  ExitCode code = ExitCode::Success;
  std::string text;  ///< who, where, what
};

/// Finds out from heartbeats which rank died, hangs, is waited for, or is out of step: rank 0's. No
/// clock, no sockets: it is told the time and what came in.
/// Thread-safety: one thread.
class Watchdog {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// `names` of all ranks, in their order: "rank 3 @ node7".
  Watchdog(std::vector<std::string> names, WatchdogOptions options, Time now);

  void heard(int rank, Pulse pulse, Time now);
  /// The rank's connection ended, after a goodbye or not.
  void closed(int rank, bool said_goodbye);

  /// What is newly wrong. Each thing is found once. Look several times a second: after a longer gap
  /// this process was stopped itself, and the others are given that time.
  std::vector<Finding> look(Time now);

 private:
  enum class Presence { Here, Left, Gone };
  struct Peer {
    std::string name;
    Pulse pulse;
    Time heard_at;
    Time in_phase_since;
    Time waits_since;  ///< when the collective that it is in, or its leaving, was first heard of
    Presence presence = Presence::Here;
    bool told = false;  ///< that it is gone or lost
  };

  void forgive(Time now);
  void compare_calls(int rank);
  void look_for_the_gone(Time now, std::vector<Finding>& findings);
  void look_for_the_awaited(Time now, std::vector<Finding>& findings);
  /// What ends the job, in seconds, and how much of it is used up.
  struct Limit {
    double seconds = 0.0;
    double used = 0.0;
  };
  Limit limit_of(const Peer& awaited, double waited, Time now) const;
  std::string place(const Peer& peer, Time now) const;

  WatchdogOptions options_;
  Time looked_at_;
  std::vector<Peer> peers_;
  /// The collectives as the first rank that told of them made them: `call` of `sequence` by `rank`.
  struct Known {
    std::int64_t sequence = 0;
    CollectiveCall call;
    int rank = 0;
  };
  std::vector<Known> known_;
  std::optional<Finding> mismatch_;
  bool mismatch_told_ = false;
  std::int64_t reported_ = 0;  ///< the collective, or the end, whose waiting was reported
  std::int64_t ended_ = 0;     ///< and whose waiting ended the job
};

}  // namespace hone::distributed

#include "hone/distributed/watchdog.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace hone::distributed {
namespace {

constexpr std::chrono::seconds kOwnGap{3};
/// Where ranks that leave wait for the others: behind all collectives.
constexpr std::int64_t kEnd = std::numeric_limits<std::int64_t>::max();

double seconds(std::chrono::steady_clock::duration span) {
  return std::chrono::duration<double>(span).count();
}

std::string whole_seconds(double value) {
  return std::to_string(static_cast<std::int64_t>(std::floor(value))) + " s";
}

/// How far a rank has come.
std::int64_t place_of(const Pulse& pulse) { return pulse.is_leaving ? kEnd : pulse.sequence; }

bool is_waiting(const Pulse& pulse) { return pulse.is_leaving || pulse.in_collective; }

std::string numbered(std::int64_t sequence, const CollectiveCall& call) {
  return describe(call) + ", collective " + std::to_string(sequence);
}

}  // namespace

Watchdog::Watchdog(std::vector<std::string> names, WatchdogOptions options, Time now)
    : options_(options), looked_at_(now), known_(4 * kRecentCalls) {
  for (auto& name : names) {
    peers_.push_back({.name = std::move(name),
                      .pulse = {},
                      .heard_at = now,
                      .in_phase_since = now,
                      .waits_since = now});
  }
}

void Watchdog::heard(int rank, Pulse pulse, Time now) {
  auto& peer = peers_.at(static_cast<std::size_t>(rank));
  if (pulse.num_phases != peer.pulse.num_phases) peer.in_phase_since = now;
  const bool same_wait = is_waiting(peer.pulse) && is_waiting(pulse) &&
                         place_of(pulse) == place_of(peer.pulse);
  if (!same_wait) peer.waits_since = now;
  peer.pulse = std::move(pulse);
  peer.heard_at = now;
  if (!peer.told) peer.presence = Presence::Here;  // a connection that was tried twice
  compare_calls(rank);
}

void Watchdog::closed(int rank, bool said_goodbye) {
  auto& peer = peers_.at(static_cast<std::size_t>(rank));
  if (peer.presence == Presence::Here) {
    peer.presence = said_goodbye ? Presence::Left : Presence::Gone;
  }
}

void Watchdog::compare_calls(int rank) {
  const auto& peer = peers_[static_cast<std::size_t>(rank)];
  const auto& recent = peer.pulse.recent;
  auto sequence = peer.pulse.sequence - static_cast<std::int64_t>(recent.size());
  for (const auto& call : recent) {
    ++sequence;
    auto& known = known_[static_cast<std::size_t>(sequence) % known_.size()];
    if (known.sequence < sequence) known = {sequence, call, rank};
    if (known.sequence != sequence || known.call == call || mismatch_) continue;
    mismatch_ = Finding{
        .ends_job = true,
        .rank = rank,
        .code = ExitCode::Internal,
        .text = "the ranks are out of step: " + peers_[static_cast<std::size_t>(known.rank)].name +
                " makes " + describe(known.call) + " as collective " + std::to_string(sequence) +
                " and " + peer.name + " makes " + describe(call) + " (phase " + peer.pulse.phase +
                "). All ranks must make the same calls: look for a branch that depends on the "
                "rank"};
  }
}

void Watchdog::forgive(Time now) {
  const auto gap = now - std::exchange(looked_at_, now);
  if (gap < kOwnGap) return;
  for (auto& peer : peers_) {
    peer.heard_at = std::min(now, peer.heard_at + gap);
    peer.in_phase_since = std::min(now, peer.in_phase_since + gap);
    peer.waits_since = std::min(now, peer.waits_since + gap);
  }
}

std::vector<Finding> Watchdog::look(Time now) {
  forgive(now);
  std::vector<Finding> findings;
  if (mismatch_ && !std::exchange(mismatch_told_, true)) findings.push_back(*mismatch_);
  look_for_the_gone(now, findings);
  look_for_the_awaited(now, findings);
  return findings;
}

std::string Watchdog::place(const Peer& peer, Time now) const {
  std::string text = "before the first phase";
  if (!peer.pulse.phase.empty()) {
    text = "in phase " + peer.pulse.phase + " for " +
           whole_seconds(seconds(now - peer.in_phase_since));
  }
  text += ", after update " + std::to_string(peer.pulse.step);
  if (peer.pulse.in_collective && !peer.pulse.recent.empty()) {
    text += ", in " + numbered(peer.pulse.sequence, peer.pulse.recent.back());
  }
  return text;
}

void Watchdog::look_for_the_gone(Time now, std::vector<Finding>& findings) {
  for (std::size_t rank = 0; rank < peers_.size(); ++rank) {
    auto& peer = peers_[rank];
    if (peer.told || peer.presence == Presence::Left) continue;
    const bool is_lost = now - peer.heard_at > options_.lost_after;
    if (peer.presence == Presence::Here && !is_lost) continue;
    peer.told = true;
    const std::string what =
        peer.presence == Presence::Gone
            ? " died: its connection ended without a goodbye"
            : " is lost: no heartbeat for " + whole_seconds(seconds(now - peer.heard_at)) +
                  " (stopped, or cut off from this node)";
    findings.push_back(
        {.ends_job = true,
         .rank = static_cast<int>(rank),
         .code = ExitCode::Stopped,
         .text = peer.name + what + "; last heard of " + place(peer, peer.heard_at)});
  }
}

Watchdog::Limit Watchdog::limit_of(const Peer& awaited, double waited, Time now) const {
  if (options_.timeout) return {options_.timeout->count(), waited};
  const double longest = options_.longest_limit.count();
  const double p99 = awaited.pulse.phase_p99;
  if (p99 <= 0 || waited >= longest) return {longest, waited};
  // Of the one phase: an update has many of them, and a slow rank is behind by some of each.
  return {std::max(options_.shortest_limit.count(), 5 * p99),
          std::min(waited, seconds(now - awaited.in_phase_since))};
}

/// Ranks wait in the collective that is furthest on, or at the job's end, for those that have not
/// come to it.
void Watchdog::look_for_the_awaited(Time now, std::vector<Finding>& findings) {
  std::int64_t furthest = 0;
  for (const auto& peer : peers_) {
    if (peer.presence == Presence::Here) furthest = std::max(furthest, place_of(peer.pulse));
  }
  double longest_wait = 0.0;
  std::size_t num_waiting = 0;
  const Peer* waiting = nullptr;
  const Peer* awaited = nullptr;
  for (const auto& peer : peers_) {
    if (peer.presence != Presence::Here) continue;
    if (place_of(peer.pulse) == furthest) {
      if (!is_waiting(peer.pulse)) return;  // it is through: so will the others be
      ++num_waiting;
      waiting = &peer;
      longest_wait = std::max(longest_wait, seconds(now - peer.waits_since));
    } else if (awaited == nullptr || peer.pulse.sequence < awaited->pulse.sequence) {
      awaited = &peer;
    }
  }
  const bool at_end = furthest == kEnd;
  if (num_waiting == 0 || (at_end && awaited == nullptr)) return;
  const Limit limit = limit_of(awaited != nullptr ? *awaited : *waiting, longest_wait, now);
  if (longest_wait < options_.report_after.count() && limit.used < limit.seconds) return;
  const std::string where =
      at_end ? "at the end" : "in " + numbered(furthest, waiting->pulse.recent.back());
  const std::string text =
      awaited != nullptr
          ? awaited->name + " is waited for: it is " + place(*awaited, now) + ", and " +
                std::to_string(num_waiting) + " of " + std::to_string(peers_.size()) +
                " ranks wait " + where + " for " + whole_seconds(longest_wait)
          : "all ranks are " + where + " for " + whole_seconds(longest_wait) +
                ": nothing comes through";
  const auto rank = awaited != nullptr ? static_cast<int>(awaited - peers_.data()) : 0;
  if (limit.used >= limit.seconds && ended_ != furthest) {
    ended_ = reported_ = furthest;
    findings.push_back({.ends_job = true,
                        .rank = rank,
                        .code = ExitCode::Stopped,
                        .text = text + ", longer than the limit of " +
                                whole_seconds(limit.seconds) + " (ddp_timeout)"});
  } else if (reported_ != furthest) {
    reported_ = furthest;
    findings.push_back({.ends_job = false,
                        .rank = rank,
                        .code = ExitCode::Success,
                        .text = text + "; the limit (ddp_timeout) is " +
                                whole_seconds(limit.seconds)});
  }
}

}  // namespace hone::distributed

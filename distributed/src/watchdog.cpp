#include "hone/distributed/watchdog.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace hone::distributed {
namespace {

constexpr std::chrono::seconds kOwnGap{3};

double seconds(std::chrono::steady_clock::duration span) {
  return std::chrono::duration<double>(span).count();
}

std::string whole_seconds(double value) {
  return std::to_string(static_cast<std::int64_t>(std::floor(value))) + " s";
}

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
                      .in_collective_since = now});
  }
}

void Watchdog::heard(int rank, Pulse pulse, Time now) {
  auto& peer = peers_.at(static_cast<std::size_t>(rank));
  if (pulse.phase != peer.pulse.phase || pulse.step != peer.pulse.step) peer.in_phase_since = now;
  const bool same_collective =
      peer.pulse.in_collective && pulse.in_collective && pulse.sequence == peer.pulse.sequence;
  if (!same_collective) peer.in_collective_since = now;
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
    peer.in_collective_since = std::min(now, peer.in_collective_since + gap);
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

double Watchdog::limit_of(const Peer& peer) const {
  if (options_.timeout) return options_.timeout->count();
  if (peer.pulse.phase_p99 <= 0) return options_.longest_limit.count();
  return std::max(options_.shortest_limit.count(), 5 * peer.pulse.phase_p99);
}

/// Ranks wait in the collective that is furthest on, for those that have not come to it.
void Watchdog::look_for_the_awaited(Time now, std::vector<Finding>& findings) {
  std::int64_t furthest = 0;
  for (const auto& peer : peers_) {
    if (peer.presence == Presence::Here) furthest = std::max(furthest, peer.pulse.sequence);
  }
  double longest_wait = 0.0;
  std::size_t num_waiting = 0;
  const Peer* awaited = nullptr;
  std::size_t awaited_rank = 0;
  for (std::size_t rank = 0; rank < peers_.size(); ++rank) {
    const auto& peer = peers_[rank];
    if (peer.presence != Presence::Here) continue;
    if (peer.pulse.sequence == furthest) {
      if (!peer.pulse.in_collective) return;  // it is through: so will the others be
      ++num_waiting;
      longest_wait = std::max(longest_wait, seconds(now - peer.in_collective_since));
    } else if (awaited == nullptr || peer.pulse.sequence < awaited->pulse.sequence) {
      awaited = &peer;
      awaited_rank = rank;
    }
  }
  if (num_waiting == 0) return;
  const auto& waiting = *std::ranges::find_if(
      peers_, [&](const Peer& peer) {
        return peer.presence == Presence::Here && peer.pulse.sequence == furthest;
      });
  const double limit = limit_of(awaited != nullptr ? *awaited : waiting);
  if (longest_wait < std::min(limit, options_.report_after.count())) return;
  const std::string where = numbered(furthest, waiting.pulse.recent.back());
  const std::string text =
      awaited != nullptr
          ? awaited->name + " is waited for: it is " + place(*awaited, now) + ", and " +
                std::to_string(num_waiting) + " of " + std::to_string(peers_.size()) +
                " ranks wait in " + where + " for " + whole_seconds(longest_wait)
          : "all ranks are in " + where + " for " + whole_seconds(longest_wait) +
                ": nothing comes through";
  if (longest_wait >= limit && ended_ != furthest) {
    ended_ = reported_ = furthest;
    findings.push_back({.ends_job = true,
                        .rank = static_cast<int>(awaited_rank),
                        .code = ExitCode::Stopped,
                        .text = text + ", longer than the limit of " + whole_seconds(limit) +
                                " (ddp_timeout)"});
  } else if (reported_ != furthest) {
    reported_ = furthest;
    findings.push_back({.ends_job = false,
                        .rank = static_cast<int>(awaited_rank),
                        .code = ExitCode::Success,
                        .text = text + "; the limit (ddp_timeout) is " + whole_seconds(limit)});
  }
}

}  // namespace hone::distributed

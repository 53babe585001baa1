#include "hub.hpp"

#include <algorithm>
#include <utility>

#include "end_of_job.hpp"
#include "hone/core/error.hpp"

namespace hone::launcher::control {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLook{200};     ///< between two looks at what has come in
constexpr milliseconds kFlush{500};    ///< for the end of the job to be on its way to all ranks
constexpr milliseconds kGoodbye{1000};

}  // namespace

Hub::Hub(std::vector<std::string> names, const std::string& address,
         const distributed::FlightRecorder& recorder, ControlOptions options, ControlHooks hooks)
    : names_(std::move(names)),
      recorder_(recorder),
      options_(std::move(options)),
      hooks_(std::move(hooks)),
      watchdog_(names_, options_.watchdog, Clock::now()),
      reporter_(hooks_.report) {
  try {
    acceptor_ = std::make_unique<tcp::acceptor>(
        loop_.context(), tcp::endpoint{asio::ip::make_address(address), 0});
    port_ = acceptor_->local_endpoint().port();
  } catch (const system_error& error) {
    throw LaunchError{"control channel: rank 0 cannot listen on " + address + ": " +
                      error.code().message()};
  }
  asio::co_spawn(loop_.context(), accept_all(), asio::detached);
  asio::co_spawn(loop_.context(), beat(), asio::detached);
}

Hub::~Hub() { stop(); }

void Hub::stop() {
  loop_.stop([this] {
    acceptor_->close();
    for (const auto& [rank, connection] : connections_) connection->close();
  });
  connections_.clear();  // before the loop that they belong to
  reporter_.stop();
}

void Hub::wait_for_all(milliseconds patience, milliseconds grace) {
  if (loop_.run(gather(patience), patience + kGoodbye) && missing_.empty()) return;
  const std::string cause =
      "control channel: " + missing_ + " did not connect to rank 0 (port " + std::to_string(port_) +
      ") within " + std::to_string(patience.count() / 1000) +
      " s. Is it stopped, or is there a firewall between the hosts? --control_interface names "
      "another network, --watchdog off does without";
  asio::co_spawn(loop_.context(), end_after(grace, cause), asio::detached);
  throw LaunchError{cause};
}

asio::awaitable<void> Hub::end_after(milliseconds grace, std::string cause) {
  co_await loop_.pause(grace);
  const EndOfJob end{first_missing_, static_cast<int>(ExitCode::Environment), cause,
                     /*told=*/false};
  co_await end_job(end);
}

asio::awaitable<void> Hub::gather(milliseconds patience) {
  co_await wait_until([this] { return connections_.size() + 1 == names_.size(); }, patience);
  for (int rank = 1; rank < size(); ++rank) {
    if (connections_.contains(rank)) continue;
    if (missing_.empty()) first_missing_ = rank;
    missing_ += (missing_.empty() ? "" : ", ") + names_[static_cast<std::size_t>(rank)];
  }
  acceptor_->close();
  if (missing_.empty()) asio::co_spawn(loop_.context(), watch(), asio::detached);
}

asio::awaitable<void> Hub::accept_all() {
  try {
    while (true) {
      auto socket = co_await acceptor_->async_accept(use_awaitable);
      asio::co_spawn(loop_.context(), serve(std::move(socket)), asio::detached);
    }
  } catch (const system_error&) {
    // Closed: all ranks are here, or too late.
  }
}

asio::awaitable<void> Hub::serve(tcp::socket socket) {
  int rank = 0;
  try {
    rank = co_await admit(socket, secret_, size());
  } catch (const system_error&) {
    co_return;  // no rank of this run
  }
  if (connections_.contains(rank)) co_return;
  const auto connection = std::make_shared<Connection>(std::move(socket));
  connections_[rank] = connection;
  co_await serve_rank(rank, connection);
  connections_.erase(rank);
}

asio::awaitable<void> Hub::serve_rank(int rank, std::shared_ptr<Connection> connection) {
  bool said_goodbye = false;
  try {
    while (true) {
      const auto frame = co_await connection->receive();
      switch (frame.type) {
        case FrameType::Pulse:
          watchdog_.heard(rank, distributed::pulse_of(frame.payload), Clock::now());
          break;
        case FrameType::Fail: {
          connection->send(FrameType::Taken);
          auto end = end_of_job(frame.payload);  // its own, or of losing this rank
          said_goodbye = true;
          co_await end_job(std::move(end));
          break;
        }
        case FrameType::Goodbye: said_goodbye = true; break;
        default: break;
      }
    }
  } catch (const system_error&) {
  } catch (const Error&) {
    connection->close();  // what it sends is not ours
  }
  watchdog_.closed(rank, said_goodbye);
}

asio::awaitable<void> Hub::beat() {
  while (!is_leaving_ && !is_ending_) {
    auto pulse = recorder_.pulse();
    if (pulse.recent.size() > 1) pulse.recent = {pulse.recent.back()};
    const auto bytes = distributed::to_bytes(pulse);
    for (const auto& [rank, connection] : connections_) connection->send(FrameType::Alive, bytes);
    co_await loop_.pause(options_.heartbeat);
  }
}

asio::awaitable<void> Hub::watch() {
  while (!is_leaving_ && !is_ending_) {
    const auto now = Clock::now();
    watchdog_.heard(0, recorder_.pulse(), now);
    for (const auto& finding : watchdog_.look(now)) {
      if (finding.ends_job && options_.mode == WatchdogMode::Abort) {
        // Named: g++ 12 destroys an aggregate that it makes within co_await twice.
        const EndOfJob end{finding.rank, static_cast<int>(finding.code), finding.text,
                           /*told=*/false};
        co_await end_job(end);
        break;
      }
      reporter_.report(finding.text);
    }
    co_await loop_.pause(kLook);
  }
}

asio::awaitable<void> Hub::end_job(EndOfJob end) {
  if (std::exchange(is_ending_, true)) co_return;
  co_await end_others(end);
  if (hooks_.end) hooks_.end(end);
}

/// Those that are to end have the reason on its way before anybody leaves. That they take it is not
/// waited for: who is stopped would keep the others, whom mpirun ends as soon as one has left.
asio::awaitable<void> Hub::end_others(EndOfJob end) {
  for (const auto& [rank, connection] : connections_) {
    const bool knows = end.told && rank == end.rank;
    if (!knows) connection->send(FrameType::End, to_bytes(end));
  }
  co_await wait_until(
      [this] {
        return std::ranges::all_of(connections_,
                                   [](const auto& entry) { return entry.second->is_flushed(); });
      },
      kFlush);
}

asio::awaitable<bool> Hub::wait_until(const std::function<bool()>& done, milliseconds patience) {
  const auto until = Clock::now() + patience;
  while (!done()) {
    if (Clock::now() >= until) co_return false;
    co_await loop_.pause(milliseconds{2});
  }
  co_return true;
}

void Hub::fail(int code, const std::string& cause, bool told) {
  loop_.run(tell_others({.rank = 0, .code = code, .cause = cause, .told = told}), kGoodbye);
}

asio::awaitable<void> Hub::tell_others(EndOfJob end) {
  if (!std::exchange(is_ending_, true)) co_await end_others(std::move(end));
}

asio::awaitable<void> Hub::say_goodbye() {
  is_leaving_ = true;
  for (const auto& [rank, connection] : connections_) connection->send(FrameType::Goodbye);
  co_await wait_until([this] { return connections_.empty(); }, kGoodbye);
}

void Hub::close() {
  loop_.run(say_goodbye(), 2 * kGoodbye);
  stop();
}

}  // namespace hone::launcher::control

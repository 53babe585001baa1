#include "spoke.hpp"

#include <limits>
#include <utility>

#include "end_of_job.hpp"
#include "hone/core/error.hpp"

namespace hone::launcher::control {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kRetry{100};
constexpr milliseconds kTaken{1000};
/// Between two looks at rank 0. All ranks must find at the same moment that it is lost: where one
/// leaves, mpirun soon ends those that do not know yet why.
constexpr milliseconds kLook{200};
constexpr milliseconds kFlush{100};

/// Whom others wait for is rank 0's to find out.
distributed::WatchdogOptions of_presence_alone(distributed::WatchdogOptions options) {
  const std::chrono::duration<double> never{std::numeric_limits<double>::infinity()};
  options.report_after = never;
  options.timeout = never;
  return options;
}

}  // namespace

Spoke::Spoke(int rank, std::string name_of_hub, const distributed::FlightRecorder& recorder,
             ControlOptions options, ControlHooks hooks)
    : rank_(rank),
      name_of_hub_(std::move(name_of_hub)),
      recorder_(recorder),
      options_(std::move(options)),
      hooks_(std::move(hooks)),
      reporter_(hooks_.report) {}

Spoke::~Spoke() { stop(); }

void Spoke::stop() {
  loop_.stop([this] {
    is_over_ = true;
    if (connection_) connection_->close();
  });
  connection_.reset();  // before the loop that it belongs to
  reporter_.stop();
}

void Spoke::connect(const std::string& address, unsigned short port, const Secret& secret,
                    milliseconds patience, milliseconds grace) {
  const tcp::endpoint hub{asio::ip::make_address(address), port};
  const bool ended =
      loop_.run(reach(hub, secret, Clock::now() + patience), patience + 2 * kHandshakeTime);
  if (ended && connection_) return;
  const std::string cause = "control channel: no connection to " + name_of_hub_ + " at " + address +
                            ':' + std::to_string(port) + (trouble_.empty() ? "" : ": " + trouble_) +
                            ". Is there a firewall between the hosts? --control_interface names "
                            "another network, --watchdog off does without";
  asio::co_spawn(loop_.context(), end_after(grace, cause), asio::detached);
  throw LaunchError{cause};
}

asio::awaitable<void> Spoke::end_after(milliseconds grace, std::string cause) {
  co_await loop_.pause(grace);
  end({.rank = 0, .code = static_cast<int>(ExitCode::Environment), .cause = cause});
}

asio::awaitable<void> Spoke::reach(tcp::endpoint hub, Secret secret, Clock::time_point until) {
  while (!connection_ && Clock::now() < until) {
    try {
      tcp::socket socket{loop_.context()};
      const HandshakeLimit limit{socket};
      co_await socket.async_connect(hub, use_awaitable);
      co_await introduce(socket, secret, rank_);
      connection_ = std::make_shared<Connection>(std::move(socket));
    } catch (const system_error& error) {
      trouble_ = error.code().message();
    }
    if (connection_) break;
    co_await loop_.pause(kRetry);
  }
  if (!connection_) co_return;
  asio::co_spawn(loop_.context(), listen(), asio::detached);
  asio::co_spawn(loop_.context(), beat(), asio::detached);
}

asio::awaitable<void> Spoke::listen() {
  try {
    while (true) {
      const auto frame = co_await connection_->receive();
      if (frame.type == FrameType::Taken) is_taken_ = true;
      if (frame.type == FrameType::Alive && watchdog_) {
        watchdog_->heard(0, distributed::pulse_of(frame.payload), Clock::now());
      }
      if (frame.type == FrameType::Goodbye) {
        hub_left_ = true;
        if (watchdog_) watchdog_->closed(0, /*said_goodbye=*/true);
      }
      if (frame.type != FrameType::End || std::exchange(is_over_, true)) continue;
      if (hooks_.end) hooks_.end(end_of_job(frame.payload));
    }
  } catch (const system_error&) {
  } catch (const Error&) {
    connection_->close();
  }
  hub_gone_ = true;
  if (!watchdog_) co_return;
  watchdog_->closed(0, hub_left_);
  co_await look_for_hub();
}

asio::awaitable<void> Spoke::beat() {
  while (!is_over_) {
    connection_->send(FrameType::Pulse, distributed::to_bytes(recorder_.pulse()));
    co_await loop_.pause(options_.heartbeat);
  }
}

asio::awaitable<void> Spoke::watch() {
  while (!is_over_) {
    co_await look_for_hub();
    co_await loop_.pause(kLook);
  }
}

asio::awaitable<void> Spoke::look_for_hub() {
  const auto findings = watchdog_->look(Clock::now());
  if (findings.empty() || is_over_) co_return;
  if (options_.mode == WatchdogMode::Report) {
    reporter_.report(findings[0].text);
    co_return;
  }
  const EndOfJob cause{0, static_cast<int>(findings[0].code), findings[0].text, /*told=*/false};
  // A stopped rank 0 reads that when mpirun wakes it to end it, and blames nobody who has left.
  connection_->send(FrameType::Fail, to_bytes(cause));
  const auto until = Clock::now() + kFlush;
  while (!connection_->is_flushed() && Clock::now() < until) co_await loop_.pause(kFlush / 20);
  end(cause);
}

void Spoke::end(const EndOfJob& cause) {
  if (std::exchange(is_over_, true) || !hooks_.end) return;
  hooks_.end(cause);
}

asio::awaitable<void> Spoke::wait_until(const bool& flag, milliseconds patience) {
  const auto until = Clock::now() + patience;
  while (!flag && Clock::now() < until) {
    co_await loop_.pause(milliseconds{2});
  }
}

void Spoke::arm() {
  asio::post(loop_.context(), [this] {
    watchdog_.emplace(std::vector<std::string>{name_of_hub_}, of_presence_alone(options_.watchdog),
                      Clock::now());
    if (hub_gone_) watchdog_->closed(0, hub_left_);
    asio::co_spawn(loop_.context(), watch(), asio::detached);
  });
}

void Spoke::fail(int code, const std::string& cause, bool told) {
  loop_.run(tell_hub({.rank = rank_, .code = code, .cause = cause, .told = told}), 2 * kTaken);
}

asio::awaitable<void> Spoke::tell_hub(EndOfJob end) {
  if (std::exchange(is_over_, true)) co_return;
  connection_->send(FrameType::Fail, to_bytes(end));
  co_await wait_until(is_taken_, kTaken);
}

void Spoke::close() {
  loop_.run(leave(), 2 * kTaken);
  stop();
}

asio::awaitable<void> Spoke::leave() {
  is_over_ = true;
  connection_->send(FrameType::Goodbye);
  co_await wait_until(hub_left_, kTaken);
  connection_->close();
}

}  // namespace hone::launcher::control

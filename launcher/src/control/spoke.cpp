#include "spoke.hpp"

#include <utility>

#include "end_of_job.hpp"
#include "hone/core/error.hpp"

namespace hone::launcher::control {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kRetry{100};
constexpr milliseconds kTaken{1000};

}  // namespace

Spoke::Spoke(int rank, std::string name_of_hub, const distributed::FlightRecorder& recorder,
             ControlOptions options, ControlHooks hooks)
    : rank_(rank),
      name_of_hub_(std::move(name_of_hub)),
      recorder_(recorder),
      options_(std::move(options)),
      hooks_(std::move(hooks)) {}

Spoke::~Spoke() { stop(); }

void Spoke::stop() {
  loop_.stop([this] {
    is_over_ = true;
    if (connection_) connection_->close();
  });
  connection_.reset();  // before the loop that it belongs to
}

void Spoke::connect(const std::string& address, unsigned short port, const Secret& secret,
                    milliseconds patience) {
  const tcp::endpoint hub{asio::ip::make_address(address), port};
  const bool ended = loop_.run(reach(hub, secret, Clock::now() + patience), patience + 2 * kHandshakeTime);
  if (ended && connection_) return;
  throw LaunchError{"control channel: no connection to " + name_of_hub_ + " at " + address + ':' +
                    std::to_string(port) + (trouble_.empty() ? "" : ": " + trouble_) +
                    ". Is there a firewall between the hosts? --control_interface names another "
                    "network, --watchdog off does without"};
}

asio::awaitable<void> Spoke::reach(tcp::endpoint hub, Secret secret, Clock::time_point until) {
  while (!connection_ && Clock::now() < until) {
    try {
      tcp::socket socket{loop_.context()};
      const Deadline deadline{socket};
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
  heard_at_ = Clock::now();
  asio::co_spawn(loop_.context(), listen(), asio::detached);
  asio::co_spawn(loop_.context(), beat(), asio::detached);
}

asio::awaitable<void> Spoke::listen() {
  try {
    while (true) {
      const auto frame = co_await connection_->receive();
      heard_at_ = Clock::now();
      if (frame.type == FrameType::Taken) is_taken_ = true;
      if (frame.type == FrameType::Goodbye) hub_left_ = true;
      if (frame.type != FrameType::End || std::exchange(is_over_, true)) continue;
      if (hooks_.end) hooks_.end(end_of_job(frame.payload));
    }
  } catch (const system_error&) {
  } catch (const Error&) {
    connection_->close();
  }
  if (!hub_left_) lose_hub(" died: its connection ended without a goodbye");
}

asio::awaitable<void> Spoke::beat() {
  auto last = Clock::now();
  while (!is_over_) {
    connection_->send(FrameType::Pulse, distributed::to_bytes(recorder_.pulse()));
    const auto now = Clock::now();
    // A process that was stopped itself has heard nothing, and that is nobody's loss.
    if (now - last > 3 * options_.heartbeat) heard_at_ = now;
    last = now;
    if (!hub_left_ && now - heard_at_ > options_.watchdog.lost_after) {
      lose_hub(" is lost: no heartbeat (stopped, or cut off from this node)");
    }
    co_await loop_.pause(options_.heartbeat);
  }
}

void Spoke::lose_hub(const std::string& how) {
  if (!is_armed_ || options_.mode != WatchdogMode::Abort || !hooks_.end) return;
  if (std::exchange(is_over_, true)) return;
  hooks_.end({.rank = 0,
              .code = static_cast<int>(ExitCode::Stopped),
              .cause = name_of_hub_ + how,
              .told = false});
}

asio::awaitable<void> Spoke::wait_until(const bool& flag, milliseconds patience) {
  const auto until = Clock::now() + patience;
  while (!flag && Clock::now() < until) {
    co_await loop_.pause(milliseconds{2});
  }
}

void Spoke::arm() {
  asio::post(loop_.context(), [this] {
    is_armed_ = true;
    heard_at_ = Clock::now();
  });
}

void Spoke::fail(int code, const std::string& cause) {
  loop_.run(tell_hub({.rank = rank_, .code = code, .cause = cause, .told = true}), 2 * kTaken);
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

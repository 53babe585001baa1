#pragma once

#include <memory>
#include <optional>
#include <string>

#include "connection.hpp"
#include "handshake.hpp"
#include "hone/launcher/control_channel.hpp"
#include "loop_thread.hpp"
#include "reporter.hpp"

namespace hone::launcher::control {

/// The other ranks' end of the channel: tells rank 0 what this rank is at, and leaves when told to.
class Spoke final : public ControlChannel {
 public:
  Spoke(int rank, std::string name_of_hub, const distributed::FlightRecorder& recorder,
        ControlOptions options, ControlHooks hooks);
  ~Spoke() override;

  /// Throws: LaunchError where rank 0 cannot be reached within `patience`, or is not of this run.
  /// Where all ranks cannot agree on that within `grace`, for rank 0 does not come to that either,
  /// the hook ends this one.
  void connect(const std::string& address, unsigned short port, const Secret& secret,
               std::chrono::milliseconds patience, std::chrono::milliseconds grace);

  /// All ranks are connected: from here on the loss of rank 0 ends the job.
  void arm();

  void fail(int code, const std::string& cause, bool told) override;
  void close() override;

 private:
  using Clock = std::chrono::steady_clock;

  asio::awaitable<void> reach(tcp::endpoint hub, Secret secret, Clock::time_point until);
  void stop();
  asio::awaitable<void> listen();
  asio::awaitable<void> beat();
  asio::awaitable<void> watch();
  asio::awaitable<void> end_after(std::chrono::milliseconds grace, std::string cause);
  asio::awaitable<void> look_for_hub();
  void end(const EndOfJob& cause);
  asio::awaitable<void> wait_until(const bool& flag, std::chrono::milliseconds patience);
  asio::awaitable<void> tell_hub(EndOfJob end);
  asio::awaitable<void> leave();

  // Used on the loop's thread alone, once it runs.
  int rank_;
  std::string name_of_hub_;
  const distributed::FlightRecorder& recorder_;
  ControlOptions options_;
  ControlHooks hooks_;
  std::shared_ptr<Connection> connection_;
  std::string trouble_;  ///< why rank 0 could not be reached
  std::optional<distributed::Watchdog> watchdog_;  ///< of rank 0 alone; from arm() on
  bool is_over_ = false;    ///< nothing more is to be heard or found
  bool is_taken_ = false;   ///< rank 0 knows of this rank's failure
  bool hub_left_ = false;   ///< with a goodbye
  bool hub_gone_ = false;   ///< its connection ended

  Reporter reporter_;
  LoopThread loop_;  ///< ends before what it uses
};

}  // namespace hone::launcher::control

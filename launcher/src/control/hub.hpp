#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "connection.hpp"
#include "handshake.hpp"
#include "hone/launcher/control_channel.hpp"
#include "loop_thread.hpp"
#include "reporter.hpp"

namespace hone::launcher::control {

/// Rank 0's end of the channel: knows all ranks, finds what is wrong, ends the job.
class Hub final : public ControlChannel {
 public:
  /// Listens on `address`. Throws: LaunchError where that is not possible.
  Hub(std::vector<std::string> names, const std::string& address,
      const distributed::FlightRecorder& recorder, ControlOptions options, ControlHooks hooks);
  ~Hub() override;

  unsigned short port() const { return port_; }
  const Secret& secret() const { return secret_; }
  /// Throws: LaunchError naming the ranks that have not come in time. Where all ranks cannot agree
  /// on that within `grace`, for those do not come to that either, the hooks end the others.
  void wait_for_all(std::chrono::milliseconds patience, std::chrono::milliseconds grace);

  void fail(int code, const std::string& cause, bool told) override;
  void close() override;

 private:
  using Clock = std::chrono::steady_clock;

  void stop();
  asio::awaitable<void> accept_all();
  asio::awaitable<void> gather(std::chrono::milliseconds patience);
  asio::awaitable<void> end_after(std::chrono::milliseconds grace, std::string cause);
  asio::awaitable<void> serve(tcp::socket socket);
  asio::awaitable<void> serve_rank(int rank, std::shared_ptr<Connection> connection);
  asio::awaitable<void> watch();
  asio::awaitable<void> beat();
  asio::awaitable<void> end_job(EndOfJob end);
  asio::awaitable<void> end_others(EndOfJob end);
  asio::awaitable<void> tell_others(EndOfJob end);
  asio::awaitable<void> say_goodbye();
  asio::awaitable<bool> wait_until(const std::function<bool()>& done,
                                   std::chrono::milliseconds patience);
  int size() const { return static_cast<int>(names_.size()); }

  // Used on the loop's thread alone, once it runs.
  std::vector<std::string> names_;
  const distributed::FlightRecorder& recorder_;
  ControlOptions options_;
  ControlHooks hooks_;
  Secret secret_ = make_secret();
  distributed::Watchdog watchdog_;
  std::map<int, std::shared_ptr<Connection>> connections_;  ///< by rank; of those that are here
  std::string missing_;   ///< ranks that had not come when their time was over
  int first_missing_ = 0;
  bool is_ending_ = false;
  bool is_leaving_ = false;

  unsigned short port_ = 0;
  Reporter reporter_;
  LoopThread loop_;  ///< ends before what it uses
  std::unique_ptr<tcp::acceptor> acceptor_;
};

}  // namespace hone::launcher::control

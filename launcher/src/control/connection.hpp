#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "asio.hpp"

namespace hone::launcher::control {

enum class FrameType : std::uint8_t {
  Pulse = 1,  ///< spoke to hub: a heartbeat, distributed::to_bytes(Pulse)
  Alive,      ///< hub to spoke: its heartbeat, likewise, with its latest collective alone
  Fail,       ///< spoke to hub: it leaves by itself, an EndOfJob
  Taken,      ///< hub to spoke: the failure is known
  End,        ///< hub to spoke: leave now, an EndOfJob
  Goodbye,    ///< either way: leaving in order
};

struct Frame {
  FrameType type;
  std::string payload;
};

/// Frames over a socket: a length of four bytes, little-endian, the type, the payload. At most
/// kMaxFrame bytes each.
/// Thread-safety: the thread of the socket's executor.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  static constexpr std::uint32_t kMaxFrame = 64U << 10;

  explicit Connection(tcp::socket socket);

  /// Queues a frame; nothing where the connection is over.
  void send(FrameType type, std::string_view payload = {});
  /// Throws: system_error where the connection ends or what comes is no frame.
  asio::awaitable<Frame> receive();
  /// Everything that was sent has been handed to the system, or never will be.
  bool is_flushed() const { return !is_writing_ || !socket_.is_open(); }
  void close();

 private:
  asio::awaitable<void> write_all();

  tcp::socket socket_;
  std::string outbox_;
  bool is_writing_ = false;
};

}  // namespace hone::launcher::control

#include "connection.hpp"

#include <fcntl.h>

#include <array>

namespace hone::launcher::control {

Connection::Connection(tcp::socket socket) : socket_(std::move(socket)) {
  // A child that outlives this process must not keep the connection, whose end tells of our death.
  fcntl(socket_.native_handle(), F_SETFD, FD_CLOEXEC);
  error_code ignored;
  socket_.set_option(tcp::no_delay{true}, ignored);
}

void Connection::send(FrameType type, std::string_view payload) {
  if (!socket_.is_open()) return;
  const auto size = static_cast<std::uint32_t>(1 + payload.size());
  for (int byte = 0; byte < 4; ++byte) outbox_ += static_cast<char>(size >> (8 * byte) & 0xff);
  outbox_ += static_cast<char>(type);
  outbox_ += payload;
  if (is_writing_) return;
  is_writing_ = true;
  asio::co_spawn(
      socket_.get_executor(),
      [self = shared_from_this()]() -> asio::awaitable<void> { co_await self->write_all(); },
      asio::detached);
}

asio::awaitable<void> Connection::write_all() {
  try {
    while (!outbox_.empty()) {
      const std::string bytes = std::exchange(outbox_, {});
      co_await asio::async_write(socket_, asio::buffer(bytes), use_awaitable);
    }
  } catch (const system_error&) {
    close();
  }
  is_writing_ = false;
}

asio::awaitable<Frame> Connection::receive() {
  std::array<unsigned char, 4> head;
  co_await asio::async_read(socket_, asio::buffer(head), use_awaitable);
  const std::uint32_t size = head[0] | head[1] << 8 | head[2] << 16 | std::uint32_t{head[3]} << 24;
  if (size == 0 || size > kMaxFrame) throw system_error{asio::error::invalid_argument};
  std::string body(size, '\0');
  co_await asio::async_read(socket_, asio::buffer(body), use_awaitable);
  co_return Frame{static_cast<FrameType>(body[0]), body.substr(1)};
}

void Connection::close() {
  error_code ignored;
  socket_.close(ignored);
}

}  // namespace hone::launcher::control

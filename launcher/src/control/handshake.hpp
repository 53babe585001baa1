#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "asio.hpp"

namespace hone::launcher::control {

/// What only the ranks of this run know.
using Secret = std::array<unsigned char, 16>;

Secret make_secret();
std::string to_hex(const Secret& secret);
/// Throws: InputError.
Secret secret_of(std::string_view hex);

constexpr std::chrono::seconds kHandshakeTime{5};

/// Closes a socket where the scope lasts longer than kHandshakeTime.
class HandshakeLimit {
 public:
  explicit HandshakeLimit(tcp::socket& socket) : timer_(socket.get_executor(), kHandshakeTime) {
    timer_.async_wait([&socket, in_scope = in_scope_](const error_code&) {
      error_code ignored;
      if (*in_scope) socket.close(ignored);
    });
  }
  ~HandshakeLimit() { *in_scope_ = false; }
  HandshakeLimit(const HandshakeLimit&) = delete;
  HandshakeLimit& operator=(const HandshakeLimit&) = delete;

 private:
  std::shared_ptr<bool> in_scope_ = std::make_shared<bool>(true);
  asio::steady_timer timer_;
};

/// Both sides prove that they know the secret, by HMAC-SHA256 over each other's random numbers: it
/// never goes over the wire, and nothing overheard serves again. admit() gives up after
/// kHandshakeTime.
/// Throws: system_error where the other side ends or does not know it.
/// Returns the rank that the other side has, below `size`.
asio::awaitable<int> admit(tcp::socket& socket, const Secret& secret, int size);
asio::awaitable<void> introduce(tcp::socket& socket, const Secret& secret, int rank);

}  // namespace hone::launcher::control

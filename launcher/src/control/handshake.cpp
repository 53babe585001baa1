#include "handshake.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "hone/core/error.hpp"

namespace hone::launcher::control {
namespace {

using Nonce = std::array<unsigned char, 16>;
using Proof = std::array<unsigned char, 32>;
using RankBytes = std::array<unsigned char, 4>;

template <std::size_t kSize>
std::array<unsigned char, kSize> random_bytes() {
  std::array<unsigned char, kSize> bytes;
  if (RAND_bytes(bytes.data(), static_cast<int>(kSize)) != 1) {
    throw LaunchError{"the system gives no random numbers for the control channel's secret"};
  }
  return bytes;
}

/// `role` keeps one side's proof from serving as the other's.
Proof proof(const Secret& secret, std::string_view role, const Nonce& first, const Nonce& second,
            const RankBytes& rank) {
  std::string message{role};
  for (const auto byte : first) message += static_cast<char>(byte);
  for (const auto byte : second) message += static_cast<char>(byte);
  for (const auto byte : rank) message += static_cast<char>(byte);
  Proof result{};
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(message.data()), message.size(), result.data(),
       nullptr);
  return result;
}

void require_equal(const Proof& got, const Proof& expected) {
  if (CRYPTO_memcmp(got.data(), expected.data(), expected.size()) == 0) return;
  throw system_error{asio::error::access_denied};
}

RankBytes bytes_of(int rank) {
  RankBytes bytes;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<unsigned char>(static_cast<std::uint32_t>(rank) >> (8 * i));
  }
  return bytes;
}

}  // namespace

Secret make_secret() { return random_bytes<std::tuple_size_v<Secret>>(); }

std::string to_hex(const Secret& secret) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const auto byte : secret) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

Secret secret_of(std::string_view hex) {
  Secret secret;
  if (hex.size() != 2 * secret.size()) throw InputError{"a secret that is none"};
  for (std::size_t i = 0; i < secret.size(); ++i) {
    const std::string digits{hex.substr(2 * i, 2)};
    secret[i] = static_cast<unsigned char>(std::stoi(digits, nullptr, 16));
  }
  return secret;
}

asio::awaitable<int> admit(tcp::socket& socket, const Secret& secret, int size) {
  const HandshakeLimit limit{socket};
  const auto mine = random_bytes<16>();
  co_await asio::async_write(socket, asio::buffer(mine), use_awaitable);
  RankBytes rank_bytes;
  Nonce theirs;
  Proof claimed;
  const std::array<asio::mutable_buffer, 3> parts{asio::buffer(rank_bytes), asio::buffer(theirs),
                                                  asio::buffer(claimed)};
  co_await asio::async_read(socket, parts, use_awaitable);
  require_equal(claimed, proof(secret, "hone control 1, spoke", mine, theirs, rank_bytes));
  std::uint32_t rank = 0;
  for (std::size_t i = 0; i < rank_bytes.size(); ++i) {
    rank |= std::uint32_t{rank_bytes[i]} << (8 * i);
  }
  if (rank == 0 || rank >= static_cast<std::uint32_t>(size)) {
    throw system_error{asio::error::access_denied};
  }
  const auto own = proof(secret, "hone control 1, hub", theirs, mine, rank_bytes);
  co_await asio::async_write(socket, asio::buffer(own), use_awaitable);
  co_return static_cast<int>(rank);
}

asio::awaitable<void> introduce(tcp::socket& socket, const Secret& secret, int rank) {
  Nonce theirs;
  co_await asio::async_read(socket, asio::buffer(theirs), use_awaitable);
  const auto mine = random_bytes<16>();
  const auto rank_bytes = bytes_of(rank);
  const auto own = proof(secret, "hone control 1, spoke", theirs, mine, rank_bytes);
  const std::array<asio::const_buffer, 3> parts{asio::buffer(rank_bytes), asio::buffer(mine),
                                                asio::buffer(own)};
  co_await asio::async_write(socket, parts, use_awaitable);
  Proof claimed;
  co_await asio::async_read(socket, asio::buffer(claimed), use_awaitable);
  require_equal(claimed, proof(secret, "hone control 1, hub", mine, theirs, rank_bytes));
}

}  // namespace hone::launcher::control

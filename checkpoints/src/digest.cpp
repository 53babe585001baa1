#include "digest.hpp"

#include <openssl/evp.h>
#include <xxhash.h>

#include <array>
#include <new>

#include "hone/core/error.hpp"

namespace hone::checkpoints::detail {
namespace {

constexpr std::string_view kXxh128 = "xxh128:", kSha256 = "sha256:";
constexpr std::size_t kXxh128Characters = 32;

void require(bool succeeded) {
  if (!succeeded) throw CheckpointError{"OpenSSL cannot compute SHA-256", ExitCode::Environment};
}

std::string hexadecimal(std::span<const unsigned char> bytes) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const auto byte : bytes) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

bool is_hexadecimal(std::string_view text, std::size_t length) {
  return text.size() == length && text.find_first_not_of("0123456789abcdef") == text.npos;
}

}  // namespace

void Digest::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }
void Digest::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

Digest::Digest(DigestKind kind) {
  if (kind == DigestKind::Xxh128) {
    xxh128_.reset(XXH3_createState());
    if (xxh128_ == nullptr) throw std::bad_alloc{};
    XXH3_128bits_reset(xxh128_.get());
  } else {
    sha256_.reset(EVP_MD_CTX_new());
    require(sha256_ != nullptr && EVP_DigestInit_ex(sha256_.get(), EVP_sha256(), nullptr) == 1);
  }
}

void Digest::update(std::span<const std::byte> bytes) {
  if (xxh128_ != nullptr) {
    XXH3_128bits_update(xxh128_.get(), bytes.data(), bytes.size());
  } else {
    require(EVP_DigestUpdate(sha256_.get(), bytes.data(), bytes.size()) == 1);
  }
}

std::string Digest::finish() {
  if (xxh128_ != nullptr) {
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, XXH3_128bits_digest(xxh128_.get()));
    return std::string{kXxh128} + hexadecimal(bytes.digest);
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned int length = 0;
  require(EVP_DigestFinal_ex(sha256_.get(), bytes.data(), &length) == 1);
  return std::string{kSha256} + hexadecimal(std::span{bytes}.first(length));
}

std::optional<DigestKind> kind_of_digest(std::string_view text) {
  const auto is = [&](std::string_view kind, std::size_t length) {
    return text.starts_with(kind) && is_hexadecimal(text.substr(kind.size()), length);
  };
  if (is(kXxh128, kXxh128Characters)) return DigestKind::Xxh128;
  if (is(kSha256, kSha256Characters)) return DigestKind::Sha256;
  return std::nullopt;
}

std::string sha256_of(std::string_view text) {
  Digest digest{DigestKind::Sha256};
  digest.update(std::as_bytes(std::span{text.data(), text.size()}));
  return digest.finish().substr(kSha256.size());
}

}  // namespace hone::checkpoints::detail

#include "digest.hpp"

#include <openssl/evp.h>

#include <array>

#include "hone/core/error.hpp"

namespace hone::checkpoints::detail {
namespace {

void require(bool succeeded) {
  if (!succeeded) throw CheckpointError{"OpenSSL cannot compute SHA-256", ExitCode::Environment};
}

}  // namespace

void Digest::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Digest::Digest() : context_(EVP_MD_CTX_new()) {
  require(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}

void Digest::update(std::span<const std::byte> bytes) {
  require(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

std::string Digest::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> raw{};
  unsigned int length = 0;
  require(EVP_DigestFinal_ex(context_.get(), raw.data(), &length) == 1);
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text;
  text.reserve(kDigestCharacters);
  for (unsigned int i = 0; i < length; ++i) {
    text += kHex[raw[i] >> 4];
    text += kHex[raw[i] & 15];
  }
  return text;
}

std::string digest_of(std::string_view text) {
  Digest digest;
  digest.update(std::as_bytes(std::span{text.data(), text.size()}));
  return digest.finish();
}

}  // namespace hone::checkpoints::detail

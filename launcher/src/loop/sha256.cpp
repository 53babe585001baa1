#include "sha256.hpp"

#include <openssl/evp.h>

#include "hone/core/error.hpp"

namespace hone::launcher {
namespace {

void require(int done) {
  if (done != 1) throw Error{ExitCode::Internal, "the system's OpenSSL computes no SHA-256"};
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  require(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
}

void Sha256::Free::operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }

void Sha256::add(std::string_view bytes) {
  require(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()));
}

Sha256::Digest Sha256::finish() {
  Digest digest;
  require(EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr));
  return digest;
}

std::string sha256_of(std::string_view bytes) {
  Sha256 sum;
  sum.add(bytes);
  std::string digits;
  for (const auto byte : sum.finish()) {
    const auto value = std::to_integer<unsigned>(byte);
    for (const auto half : {value >> 4, value & 15U}) digits += "0123456789abcdef"[half];
  }
  return digits;
}

}  // namespace hone::launcher

#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace hone::checkpoints::detail {

/// Characters of a digest as text: SHA-256 in lower-case hexadecimal.
inline constexpr std::size_t kDigestCharacters = 64;

/// SHA-256 of bytes that come in pieces.
class Digest {
 public:
  Digest();
  void update(std::span<const std::byte> bytes);
  /// The digest as text; the object is spent.
  std::string finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

std::string digest_of(std::string_view text);

}  // namespace hone::checkpoints::detail

#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;
struct XXH3_state_s;

namespace hone::checkpoints::detail {

/// What tells damage: of files XXH3's 128 bits, faster than any disk; SHA-256, which versions 1 and 2
/// had there, of the manifest.
enum class DigestKind { Xxh128, Sha256 };

/// The digest of bytes that come in pieces. As text it says its kind: "xxh128:99aa06d3014798d8...".
class Digest {
 public:
  explicit Digest(DigestKind kind = DigestKind::Xxh128);
  void update(std::span<const std::byte> bytes);
  /// The digest as text; the object is spent.
  std::string finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> xxh128_;  ///< one of both
  std::unique_ptr<evp_md_ctx_st, Free> sha256_;
};

/// The kind of a digest's text; none where it is not one.
std::optional<DigestKind> kind_of_digest(std::string_view text);

/// Characters of what sha256_of() returns.
inline constexpr std::size_t kSha256Characters = 64;
/// SHA-256 in lower-case hexadecimal, without its kind.
std::string sha256_of(std::string_view text);

}  // namespace hone::checkpoints::detail

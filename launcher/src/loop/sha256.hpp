#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace hone::launcher {

/// SHA-256 of what is added. Throws: Error (Internal) where the system's library refuses.
class Sha256 {
 public:
  using Digest = std::array<std::byte, 32>;

  Sha256();
  void add(std::string_view bytes);
  Digest finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

/// In 64 hexadecimal digits.
std::string sha256_of(std::string_view bytes);

}  // namespace hone::launcher

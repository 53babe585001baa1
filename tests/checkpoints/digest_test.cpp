#include "digest.hpp"

#include <gtest/gtest.h>

namespace hone::checkpoints::detail {
namespace {

std::string digest_of(std::string_view text, DigestKind kind, std::size_t piece = 1000) {
  Digest digest{kind};
  for (; !text.empty(); text = text.substr(std::min(piece, text.size()))) {
    const auto part = text.substr(0, piece);
    digest.update(std::as_bytes(std::span{part.data(), part.size()}));
  }
  return digest.finish();
}

/// Source: `printf a | xxh128sum`, `printf abc | sha256sum`.
TEST(Digest, IsThatOfTheToolsOfItsName) {
  EXPECT_EQ(digest_of("", DigestKind::Xxh128), "xxh128:99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(digest_of("a", DigestKind::Xxh128), "xxh128:a96faf705af16834e6c632b61e964e1f");
  EXPECT_EQ(digest_of("abc", DigestKind::Sha256),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_of("abc"), digest_of("abc", DigestKind::Sha256).substr(7));
}

TEST(Digest, DoesNotDependOnThePieces) {
  const std::string text(5000, 'x');
  for (const auto kind : {DigestKind::Xxh128, DigestKind::Sha256}) {
    for (const std::size_t piece : {1, 7, 4999}) EXPECT_EQ(digest_of(text, kind, piece), digest_of(text, kind));
    EXPECT_NE(digest_of(text + 'x', kind), digest_of(text, kind));
  }
}

TEST(Digest, ItsTextSaysItsKind) {
  EXPECT_EQ(kind_of_digest("xxh128:99aa06d3014798d86001c324468d497f"), DigestKind::Xxh128);
  EXPECT_EQ(kind_of_digest("sha256:" + std::string(64, 'a')), DigestKind::Sha256);
  for (const std::string wrong :
       {std::string{}, std::string(64, 'a'), std::string{"xxh128:"}, "xxh128:" + std::string(64, 'a'),
        "sha256:" + std::string(64, 'A'), "sha256:" + std::string(63, 'a') + 'g'}) {
    EXPECT_EQ(kind_of_digest(wrong), std::nullopt) << wrong;
  }
}

}  // namespace
}  // namespace hone::checkpoints::detail

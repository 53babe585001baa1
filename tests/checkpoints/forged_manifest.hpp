#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "checkpoint_fixture.hpp"
#include "digest.hpp"
#include "manifest_format.hpp"

namespace hone::testing {

/// Changes a manifest and makes its own digest fit again, as an attacker would.
inline void forge(const fs::path& manifest, const std::string& from, const std::string& to) {
  auto text = read_file(manifest);
  const auto end = text.rfind(checkpoints::detail::kDigestHead);
  ASSERT_NE(end, std::string::npos);
  text.resize(end);
  const auto at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  const auto digest = checkpoints::detail::sha256_of(text);
  write_file(manifest, text.append(checkpoints::detail::kDigestHead)
                           .append(digest)
                           .append(checkpoints::detail::kDigestTail));
}

}  // namespace hone::testing

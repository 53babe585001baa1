#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hone/core/training/token_row.hpp"

namespace hone::detail {

/// Rows, and what is known of them, as they travel and are hashed.
using Words = std::vector<std::int64_t>;

void append(const TokenRow& row, Words& words);

/// The row that append() wrote at the begin of `words`, which is then behind it.
TokenRow take_row(std::span<const std::int64_t>& words);

/// FNV-1a over 64-bit words.
std::int64_t digest(std::span<const std::int64_t> words);

Words words_of(std::span<const std::byte> bytes);

}  // namespace hone::detail

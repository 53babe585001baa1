#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hone {

/// Foreign text (file content, model output, what a program printed) made safe for a message or a
/// log: control characters, bytes that are not UTF-8 and characters that reorder or hide text come
/// out as \n, \t, \xNN or \u{NNNN}; at most about `max_bytes` of the input are shown, then
/// "... (N bytes)".
std::string printable(std::string_view text, std::size_t max_bytes = 200);

/// The length of the UTF-8 character at the front of `text`, or 0 where it is not well-formed
/// (overlong, surrogate, beyond U+10FFFF, cut off). `text` must not be empty.
std::size_t utf8_length(std::string_view text);

/// The offset of the first byte that is not part of well-formed UTF-8, or npos.
std::size_t find_invalid_utf8(std::string_view text);

}  // namespace hone

#include "hone/core/printable.hpp"

#include <gtest/gtest.h>

namespace hone {
namespace {

TEST(Printable, LeavesOrdinaryTextAlone) {
  EXPECT_EQ(printable("a b \xC3\xA9 \xE4\xB8\xAD \xF0\x9F\x98\x80 \\ \""),
            "a b \xC3\xA9 \xE4\xB8\xAD \xF0\x9F\x98\x80 \\ \"");
}

TEST(Printable, EscapesControlsInvalidBytesAndWhatReordersText) {
  EXPECT_EQ(printable(std::string_view{"\x1b[31m\n\r\t\0\x7f", 10}),
            "\\x1b[31m\\n\\r\\t\\x00\\x7f");
  EXPECT_EQ(printable("\xff\xC3"), "\\xff\\xc3");
  EXPECT_EQ(printable("\xC2\x9B"), "\\u{9b}");  // a control of the C1 set
  EXPECT_EQ(printable("a\xE2\x80\xAE"
                      "b"),
            "a\\u{202e}b");  // right-to-left override
  EXPECT_EQ(printable("\xEF\xBB\xBF"), "\\u{feff}");
}

TEST(Printable, IsCappedAtWholeCharacters) {
  EXPECT_EQ(printable("abcdef", 3), "abc... (6 bytes)");
  EXPECT_EQ(printable("abc", 3), "abc");
  EXPECT_EQ(printable("ab\xC3\xA9z", 3), "ab\xC3\xA9... (5 bytes)");
}

TEST(FindInvalidUtf8, NamesTheFirstBadByte) {
  EXPECT_EQ(find_invalid_utf8("ok \xF4\x8F\xBF\xBF"), std::string_view::npos);
  EXPECT_EQ(find_invalid_utf8("ok \xF4\x90\x80\x80"), 3U);
  EXPECT_EQ(find_invalid_utf8("\xE0\x80\x80"), 0U);
}

}  // namespace
}  // namespace hone

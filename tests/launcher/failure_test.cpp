#include "hone/launcher/failure.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <new>
#include <stdexcept>
#include <system_error>

#include "hone/core/error.hpp"

namespace hone::launcher {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

template <typename Thrown>
Failure described(const Thrown& error) {
  return describe_failure(std::make_exception_ptr(error));
}

TEST(Failure, OfHoneKeepsCodeAndMessage) {
  const auto failure = described(MissingInputError{"no such folder"});
  EXPECT_EQ(failure.code, 66);
  EXPECT_EQ(failure.message, "no such folder");
  EXPECT_EQ(described(DivergedError{"nan"}).code, 76);
}

TEST(Failure, OfMemoryIs71AndSaysWhatToLower) {
  EXPECT_EQ(described(std::bad_alloc{}).code, 71);
  EXPECT_THAT(described(std::bad_alloc{}).message, HasSubstr("per_device_train_batch_size"));
  const auto tensor = described(std::runtime_error{
      "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes.\nException "
      "raised from alloc (frames)"});
  EXPECT_EQ(tensor.code, 71);
  EXPECT_THAT(tensor.message, Not(HasSubstr("frames")));
  const auto bare = described(std::runtime_error{"can't allocate memory: 9 bytes\nframe #0: a\nframe #1: b"});
  EXPECT_EQ(bare.code, 71);
  EXPECT_THAT(bare.message, Not(HasSubstr("frame")));
}

TEST(Failure, OfTheDiskIs73OrOf74) {
  EXPECT_EQ(described(std::system_error{ENOSPC, std::generic_category(), "write"}).code, 73);
  EXPECT_EQ(described(std::system_error{EDQUOT, std::generic_category(), "write"}).code, 73);
  EXPECT_EQ(described(std::system_error{EIO, std::generic_category(), "write"}).code, 74);
  EXPECT_EQ(described(std::filesystem::filesystem_error{
                          "rename", std::make_error_code(std::errc::no_space_on_device)})
                .code,
            73);
}

TEST(Failure, OfAnyOtherKindIsABug) {
  EXPECT_EQ(described(std::logic_error{"x"}).code, 70);
  EXPECT_THAT(described(std::logic_error{"x"}).message, HasSubstr("report"));
  EXPECT_EQ(described(3).code, 70);
}

TEST(ErrorBlock, SaysWhatWhereAndTheCode) {
  EXPECT_EQ(error_block({65, "bad line\nmend it"}, "[rank 1 @ n] ", "out/logs/rank-1.log"),
            "error: [rank 1 @ n] bad line\n  mend it\n  exit code 65, log: out/logs/rank-1.log\n");
  EXPECT_EQ(error_block({64, "a\x1b[2J"}, "", {}), "error: a\\x1b[2J\n  exit code 64\n");
}

}  // namespace
}  // namespace hone::launcher

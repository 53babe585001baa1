#include "hone/core/files/published_file.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "fakes/temp_dir.hpp"

namespace hone {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class PublishedFileTest : public ::testing::Test {
 protected:
  hone::testing::TempDir dir_;
  fs::path path_ = dir_.path() / "file";
  fs::path partial_ = dir_.path() / "file.partial";
};

TEST_F(PublishedFileTest, TheOldFileStaysUntilTheNewOneIsPublished) {
  dir_.write("file", "old");
  PublishedFile file{path_};
  file.write("ne");
  file.write("w");
  file.finish();
  EXPECT_EQ(dir_.read("file"), "old");
  file.publish();
  EXPECT_EQ(dir_.read("file"), "new");
  EXPECT_FALSE(fs::exists(partial_));
}

TEST_F(PublishedFileTest, WhatIsNotPublishedIsGone) {
  dir_.write("file", "old");
  {
    PublishedFile file{path_};
    file.write("new");
    PublishedFile moved{std::move(file)};
    EXPECT_TRUE(fs::exists(partial_));
  }
  EXPECT_FALSE(fs::exists(partial_));
  EXPECT_EQ(dir_.read("file"), "old");
}

TEST_F(PublishedFileTest, OnlyOneWritesAFile) {
  PublishedFile first{path_};
  first.write("first");
  EXPECT_THROW(PublishedFile{path_}, Error);
  first.finish();
  first.publish();
  EXPECT_EQ(dir_.read("file"), "first");
  write_durably(path_, "second");
  EXPECT_EQ(dir_.read("file"), "second");
}

TEST_F(PublishedFileTest, WhatAKilledProcessLeftIsReplaced) {
  dir_.write("file.partial", "much longer than what comes");
  write_durably(path_, "new");
  EXPECT_EQ(dir_.read("file"), "new");
}

TEST_F(PublishedFileTest, ALinkInTheWayIsNotFollowed) {
  dir_.write("elsewhere", "mine");
  fs::create_symlink(dir_.path() / "elsewhere", partial_);
  EXPECT_THROW(write_durably(path_, "new"), Error);
  EXPECT_EQ(dir_.read("elsewhere"), "mine");
}

TEST_F(PublishedFileTest, AFullDiskHoldsTheRunOtherFailuresAreIo) {
  const FileDescriptor full{::open("/dev/full", O_WRONLY | O_CLOEXEC)};
  EXPECT_EQ(write_all(full.get(), "text"), ENOSPC);
  const auto error = file_error("runs/a", "writing", ENOSPC);
  EXPECT_EQ(error.exit_code(), ExitCode::RunHeld);
  EXPECT_THAT(error.what(), HasSubstr("runs/a: writing failed: No space left on device; free"));
  EXPECT_EQ(file_error("runs/a", "writing", EDQUOT).exit_code(), ExitCode::RunHeld);
  EXPECT_EQ(file_error("runs/a", "writing", EIO).exit_code(), ExitCode::Io);
}

}  // namespace
}  // namespace hone

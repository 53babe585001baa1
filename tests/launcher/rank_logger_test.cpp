#include "hone/launcher/rank_logger.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <future>
#include <mutex>
#include <regex>
#include <sstream>
#include <thread>
#include <vector>

namespace hone::launcher {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RankLog : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path{::testing::TempDir()} /
              (std::string{"rank_logger_"} +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string file_text(int rank = 0) const {
    std::ifstream file{folder_ / "logs" / ("rank-" + std::to_string(rank) + ".log")};
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  std::filesystem::path folder_;
  std::mutex mutex_;
  std::string screen_;
  RankLogger log_{[this](std::string_view line) {
    const std::lock_guard lock{mutex_};
    screen_ += line;
  }};
};

TEST_F(RankLog, Rank0ShowsInfosAndKeepsEverything) {
  log_.open(folder_);
  log_.debug("d");
  log_.info("i");
  log_.warning("w");
  log_.error("e");
  EXPECT_EQ(screen_, "i\nwarning: w\nerror: e\n");
  const std::regex lines{
      R"((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d (debug d|info i|warning w|error e)\n){4})"};
  EXPECT_TRUE(std::regex_match(file_text(), lines)) << file_text();
  EXPECT_EQ(log_.file(), folder_ / "logs" / "rank-0.log");
}

TEST_F(RankLog, OtherRanksShowErrorsOnly) {
  log_.set_rank(3, "node17");
  log_.open(folder_);
  log_.info("i");
  log_.warning("w");
  log_.error("e");
  EXPECT_EQ(screen_, "[rank 3 @ node17] error: e\n");
  EXPECT_THAT(file_text(3), HasSubstr("warning w"));
}

TEST_F(RankLog, WhatCameBeforeTheFileIsInIt) {
  log_.info("early");
  log_.open(folder_);
  EXPECT_THAT(file_text(), HasSubstr("info early\n"));
}

TEST_F(RankLog, RecordsWithoutShowing) {
  log_.open(folder_);
  log_.record(LogLevel::Error, "told elsewhere");
  EXPECT_EQ(screen_, "");
  EXPECT_THAT(file_text(), HasSubstr("error told elsewhere\n"));
}

TEST_F(RankLog, GoesOnInTheSameFile) {
  log_.open(folder_);
  log_.info("first run");
  RankLogger second{[](std::string_view) {}};
  second.open(folder_);
  second.info("second run");
  EXPECT_THAT(file_text(), HasSubstr("first run"));
  EXPECT_THAT(file_text(), HasSubstr("second run"));
}

TEST_F(RankLog, NoMessageActsOnTheTerminalOrPassesForAnother) {
  log_.open(folder_);
  log_.info("a\x1b[31m\r{}%s\n2026-01-01 error forged\n");
  EXPECT_EQ(screen_, "a\\x1b[31m\\r{}%s\n  2026-01-01 error forged\n");
  EXPECT_THAT(file_text(), HasSubstr("a\\x1b[31m\\r{}%s\n  2026-01-01 error forged\n"));
}

TEST_F(RankLog, AFullDiskIsToldOnceAndNeverThrown) {
  std::filesystem::create_directories(folder_ / "logs");
  std::filesystem::create_symlink("/dev/full", folder_ / "logs" / "rank-0.log");
  log_.open(folder_);
  EXPECT_NO_THROW(log_.info("one"));
  EXPECT_NO_THROW(log_.info("two"));
  EXPECT_THAT(screen_, HasSubstr("warning: log file: "));
  EXPECT_THAT(screen_, HasSubstr("one\n"));
  EXPECT_THAT(screen_, HasSubstr("two\n"));
  EXPECT_EQ(screen_.find("log file"), screen_.rfind("log file"));
}

TEST_F(RankLog, AFolderThatCannotBeIsTold) {
  std::ofstream{folder_ / "taken"} << "x";
  EXPECT_NO_THROW(log_.open(folder_ / "taken"));
  EXPECT_THAT(screen_, HasSubstr("warning: log file: "));
  EXPECT_THAT(log_.file().string(), IsEmpty());
  EXPECT_NO_THROW(log_.info("still here"));
  EXPECT_THAT(screen_, HasSubstr("still here"));
}

TEST_F(RankLog, AScreenThatNobodyReadsKeepsNothingFromTheFile) {
  std::promise<void> is_stuck;
  std::promise<void> is_read;
  RankLogger log{[&](std::string_view) {
    is_stuck.set_value();
    is_read.get_future().wait();
  }};
  log.open(folder_);
  const auto shown = std::async(std::launch::async, [&] { log.info("to a full pipe"); });
  is_stuck.get_future().wait();
  const auto recorded =
      std::async(std::launch::async, [&] { log.record(LogLevel::Error, "last words"); });
  EXPECT_EQ(recorded.wait_for(std::chrono::seconds{10}), std::future_status::ready);
  EXPECT_THAT(file_text(), HasSubstr("error last words\n"));
  is_read.set_value();
}

TEST_F(RankLog, ManyThreadsWriteWholeLines) {
  log_.open(folder_);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this] {
      for (int i = 0; i < 100; ++i) log_.info("abcdefgh");
    });
  }
  for (auto& thread : threads) thread.join();
  std::istringstream lines{screen_};
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) EXPECT_EQ(line, "abcdefgh");
  EXPECT_EQ(count, 400);
}

}  // namespace
}  // namespace hone::launcher

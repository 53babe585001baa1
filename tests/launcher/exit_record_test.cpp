#include "hone/launcher/exit_record.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

namespace hone::launcher {
namespace {

class ExitRecords : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path{::testing::TempDir()} /
              (std::string{"exit_record_"} +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  nlohmann::json read(const std::string& name) const {
    return nlohmann::json::parse(std::ifstream{folder_ / "exit" / name});
  }

  std::filesystem::path folder_;
};

TEST_F(ExitRecords, SayCodeReasonAndStep) {
  ASSERT_TRUE(write_exit_record(folder_, 2, {.code = 75, .reason = "stopped", .step = 41}));
  EXPECT_EQ(read("rank-2.json"),
            (nlohmann::json{{"code", 75}, {"reason", "stopped"}, {"step", 41}}));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "exit" / "rank-2.json.tmp"));
}

TEST_F(ExitRecords, ReplaceOlderOnes) {
  write_exit_record(folder_, 0, {.code = 1, .reason = "a", .step = 1});
  write_exit_record(folder_, 0, {.code = 0, .reason = "b", .step = 2});
  EXPECT_EQ(read("rank-0.json")["reason"], "b");
}

TEST_F(ExitRecords, OfAnEarlierStartGo) {
  for (const int rank : {0, 1, 2, 10}) write_exit_record(folder_, rank, {});
  for (const char* other : {"rank-x.json", "rank-02.json", "rank-9.json.tmp", "notes"}) {
    std::ofstream{folder_ / "exit" / other};
  }
  const auto names = [&] {
    std::set<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator{folder_ / "exit"}) {
      found.insert(entry.path().filename());
    }
    return found;
  };
  remove_old_exit_records(folder_, 1, 2);
  EXPECT_FALSE(names().contains("rank-1.json"));
  EXPECT_EQ(names().size(), 7U) << "its own alone";
  remove_old_exit_records(folder_, 0, 2);
  EXPECT_EQ(names(),
            (std::set<std::string>{"rank-x.json", "rank-02.json", "rank-9.json.tmp", "notes"}));
  remove_old_exit_records(folder_ / "nowhere", 0, 2);
}

TEST_F(ExitRecords, TakeBytesThatAreNoText) {
  ASSERT_TRUE(write_exit_record(folder_, 0, {.code = 65, .reason = "\xff\n\"", .step = 0}));
  EXPECT_EQ(read("rank-0.json")["code"], 65);
}

TEST_F(ExitRecords, ThatCannotBeWrittenLeaveNoTrace) {
  std::filesystem::create_directories(folder_ / "exit");
  write_exit_record(folder_, 0, {.code = 0, .reason = "kept", .step = 2});
  std::filesystem::create_symlink("/dev/full", folder_ / "exit" / "rank-0.json.tmp");
  EXPECT_FALSE(write_exit_record(folder_, 0, {.code = 1, .reason = "lost", .step = 3}));
  EXPECT_EQ(read("rank-0.json")["reason"], "kept");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "exit" / "rank-0.json.tmp"));
  EXPECT_FALSE(write_exit_record("/dev/null/x", 0, {}));
}

}  // namespace
}  // namespace hone::launcher

// Power cuts at each call of the writer to the file system, on real ones: an image is mounted, shut down by
// the ioctl that ext4 and XFS have for that, and mounted again. Needs root and loop devices; runs where
// HONE_TEST_SYSTEM is set (scripts/test.sh --system).
#include <sys/mount.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "checkpoint_fixture.hpp"
#include "hone/checkpoints/inspect.hpp"
#include "victim.hpp"

namespace hone::testing {
namespace {

constexpr int kPowerCut = 9;  // how a victim exits

struct Disk {
  const char* name;
  const char* make;  ///< the command, before the image
  std::int64_t bytes;
};

std::ostream& operator<<(std::ostream& out, const Disk& disk) { return out << disk.name; }

bool command(const std::string& text) {
  return std::system((text + " >/dev/null 2>&1").c_str()) == 0;  // NOLINT: names of ours alone
}

/// The run directory is on a disk of its own.
class PowerTest : public CheckpointTest, public ::testing::WithParamInterface<Disk> {
 protected:
  void SetUp() override {
    CheckpointTest::SetUp();
    disk_ = root_ / "disk";
    run_ = disk_ / "run";
    fs::create_directory(disk_);
    if (std::getenv("HONE_TEST_SYSTEM") == nullptr) {
      GTEST_SKIP() << "mounts file systems: only with HONE_TEST_SYSTEM=1 (scripts/test.sh --system)";
    }
    const auto image = (root_ / "image").string();
    write_file(image, "");
    fs::resize_file(image, static_cast<std::uintmax_t>(GetParam().bytes));
    mount_ = "mount -o loop " + image + ' ' + disk_.string();
    if (!command(std::string{GetParam().make} + ' ' + image) || !command(mount_)) {
      FAIL() << "no " << GetParam().name << " can be made and mounted here, as was asked for";
    }
    is_mounted_ = true;
  }
  void TearDown() override {
    if (is_mounted_) unmount();
    CheckpointTest::TearDown();
  }

  void unmount() { ASSERT_TRUE(command("umount " + disk_.string())); }
  void power_up() {
    unmount();
    ASSERT_TRUE(command(mount_)) << mount_;
  }

  /// What is wrong with the run after a power cut; empty where nothing that save() answered for is
  /// lost and nothing bad is found.
  std::string problem_after(std::int64_t durable) {
    try {
      const auto found = newest(kRanks);
      if (!found) return durable < 0 ? "" : "all checkpoints are lost";
      const auto step = checkpoints::inspect_checkpoint(*found).step;
      if (step < durable) return "step " + std::to_string(durable) + " is lost";
      return holds(*found, static_cast<unsigned>(step)) ? "" : "other tensors than were saved";
    } catch (const CheckpointError& error) {
      return error.what();
    }
  }

  bool is_in_log(std::int64_t step) const {
    std::ifstream log{run_ / kLog};
    for (std::int64_t line = 0; log >> line;) {
      if (line == step) return true;
    }
    return false;
  }

  struct Count {
    int cuts = 0, problems = 0;
  };

  /// A cut at each `stride`th call of three saves. `lacks`: see kill_victim.cpp.
  Count sweep(const std::string& end, const std::string& lacks, long stride) {
    Count count;
    for (long call = 0;; call += stride, ++count.cuts) {
      fs::remove_all(run_);
      save(1, 1, kRanks);
      save(2, 2, kRanks);
      EXPECT_TRUE(command("sync -f " + disk_.string()));
      const auto life = live(run_, kFirstStep, {.call = call, .end = end, .lacks = lacks});
      if (!life.exited_with(kPowerCut)) {
        EXPECT_TRUE(life.exited_with(0)) << life.status;
        return count;
      }
      power_up();
      if (HasFatalFailure()) return count;
      auto problem = problem_after(std::max<std::int64_t>(life.saved, 2));
      if (problem.empty() && life.saved >= kFirstStep && !is_in_log(life.saved)) {
        problem = "the log of step " + std::to_string(life.saved) + " is lost";
      }
      count.problems += problem.empty() ? 0 : 1;
      if (lacks.empty()) {
        EXPECT_EQ(problem, "") << end << " before call " << call << ", " << life.at;
      }
    }
  }

  fs::path disk_;
  std::string mount_;
  bool is_mounted_ = false;
};

TEST_P(PowerTest, NothingThatSaveAnsweredForIsLost) {
  for (const std::string end : {"cut-log", "cut"}) {
    const auto count = sweep(end, "", 1);
    std::printf("%s, %s: %d cuts, %d lost\n", GetParam().name, end.c_str(), count.cuts, count.problems);
    EXPECT_GT(count.cuts, 100);
  }
}

/// Else the test above would show nothing.
TEST_P(PowerTest, WithoutASyncSomethingIsLost) {
  for (const std::string lacks : {"files", "folders", "run"}) {
    int problems = 0;
    for (const std::string end : {"cut-log", "cut"}) problems += sweep(end, lacks, 8).problems;
    std::printf("%s without fsync of %s: %d lost\n", GetParam().name, lacks.c_str(), problems);
    EXPECT_GT(problems, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Disks, PowerTest,
                         ::testing::Values(Disk{"ext4", "mkfs.ext4 -q -F", std::int64_t{64} << 20},
                                           Disk{"XFS", "mkfs.xfs -q -f", std::int64_t{320} << 20}),
                         [](const auto& info) { return std::string{info.param.name}; });

}  // namespace
}  // namespace hone::testing

/// 77 where nothing ran: ctest calls that skipped.
int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const int result = RUN_ALL_TESTS();
  const auto& tests = *::testing::UnitTest::GetInstance();
  return result == 0 && tests.skipped_test_count() == tests.test_to_run_count() ? 77 : result;
}

// Which checkpoints stay, and what replacing one of the same step does.
#include "checkpoint_fixture.hpp"
#include "hone/checkpoints/inspect.hpp"

namespace hone::testing {
namespace {

using checkpoints::Hdf5CheckpointStore;
using checkpoints::list_checkpoints;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

using RetentionTest = CheckpointTest;

TEST_F(RetentionTest, KeepsTheNewest) {
  for (const int step : {1, 2, 3, 4}) save(step, 1, 2, 2);
  EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(4), checkpoint(3)));
  save(5, 1, 2, 1);
  EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(5), checkpoint(4))) << "two, whatever is said";
  EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_F(RetentionTest, KeepsEveryNthAndTheBestBeside) {
  distributed::LoopbackCommunicator comm;
  auto rules = options(2);
  rules.save_keep_steps = 4;
  Hdf5CheckpointStore store{comm, logger_, rules};
  auto tensors = sample_tensors(1);
  for (std::int64_t step = 1; step <= 9; ++step) {
    auto content = content_of(tensors, step, 1);
    content.best_step = 3;
    store.save(content);
  }
  EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(9), checkpoint(8), checkpoint(4), checkpoint(3)));
  rules.save_keep_steps = 0;
  EXPECT_THROW((Hdf5CheckpointStore{comm, logger_, rules}), ConfigError);
}

TEST_F(RetentionTest, WhatIsCutShortDoesNotCount) {
  for (const int step : {1, 2, 3}) save(step, 1);
  fs::resize_file(checkpoint(3) / "rank-00000-of-00001.h5", 100);
  save(4, 1, 1, 2);
  EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(4), checkpoint(3), checkpoint(2)));
}

/// Of as many bytes as it should have: only reading it tells.
TEST_F(RetentionTest, TheLastTwoThatStayAreWhole) {
  for (const int step : {1, 2, 3}) save(step, 1);
  auto bytes = read_file(checkpoint(3) / "rank-00000-of-00001.h5");
  bytes.back() ^= 1;
  write_file(checkpoint(3) / "rank-00000-of-00001.h5", bytes);
  save(4, 1, 1, 2);
  EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(4), checkpoint(3), checkpoint(2)));
}

TEST_F(RetentionTest, NoLimitKeepsAll) {
  for (const int step : {1, 2, 3}) save(step, 1);
  EXPECT_EQ(list_checkpoints(run_).size(), 3U);
}

/// A program that resumes nothing, in the folder of another run: neither takes the other's place.
TEST_F(RetentionTest, WhatANewRunComesUponIsMovedAside) {
  for (const int step : {200, 50}) {
    fs::remove_all(run_);
    save(100, 1);
    save(200, 1);
    save(step, 2, 2, 1);
    EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(step)));
    EXPECT_TRUE(holds(checkpoint(step), 2));
    EXPECT_THAT(leftovers(), UnorderedElementsAre(StartsWith(".aside-checkpoint-100-"),
                                                  StartsWith(".aside-checkpoint-200-")));
  }
}

TEST_F(RetentionTest, ForeignFoldersStayAndDoNotCount) {
  save(1, 1);
  save(2, 1);
  fs::create_directories(checkpoint(7));
  write_file(checkpoint(7) / "model.safetensors", "somebody's");
  save(3, 1, 1, 2);
  EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(7), checkpoint(3), checkpoint(2)));
}

TEST_F(RetentionTest, WhatThisRunRefusedDoesNotCountAndIsMovedAside) {
  save(1, 1);
  save(2, 1);
  save(9, 1);
  auto bytes = read_file(checkpoint(9) / "rank-00000-of-00001.h5");
  bytes.back() ^= 1;
  write_file(checkpoint(9) / "rank-00000-of-00001.h5", bytes);
  distributed::LoopbackCommunicator comm;
  Hdf5CheckpointStore store{comm, logger_, options(2)};
  EXPECT_EQ(find_newest(store), checkpoint(2));
  auto tensors = sample_tensors(3);
  store.save(content_of(tensors, 3, 3));
  EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(3), checkpoint(2)));
  EXPECT_THAT(leftovers(), ElementsAre(StartsWith(".aside-checkpoint-9-")));
}

TEST_F(RetentionTest, LimitsBelowOneAreAConfigError) {
  distributed::LoopbackCommunicator comm;
  for (const int limit : {0, -1}) {
    EXPECT_THROW((Hdf5CheckpointStore{comm, logger_, options(limit)}), ConfigError);
  }
}

TEST_F(RetentionTest, TheSameStepIsReplaced) {
  save(5, 1, 2);
  distributed::ThreadWorld{3}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    store.go_on_from(checkpoint(5));
    auto tensors = sample_tensors(2);
    store.save(content_of(tensors, 5, 2));
  });
  EXPECT_TRUE(holds(checkpoint(5), 2));
  EXPECT_FALSE(fs::exists(checkpoint(5) / "rank-00000-of-00002.h5"));
  EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_F(RetentionTest, LeftoversOfDeadRunsGoWithTheNextSave) {
  save(1, 1);
  fs::create_directories(run_ / ".tmp-checkpoint-2-aa" / "sub");
  write_file(run_ / ".tmp-checkpoint-2-aa" / "sub" / "rank.h5", "x");
  fs::create_directories(run_ / ".trash-bb");
  fs::create_directory_symlink(root_, run_ / ".tmp-checkpoint-2-aa" / "link");
  write_file(root_ / "precious", "stays");
  EXPECT_EQ(newest(), checkpoint(1));
  save(2, 1);
  EXPECT_THAT(leftovers(), IsEmpty());
  EXPECT_EQ(read_file(root_ / "precious"), "stays");
}

TEST_F(RetentionTest, AnInterruptedReplacementIsPutBack) {
  save(4, 2);
  save(5, 1);
  fs::rename(checkpoint(5), run_ / ".replaced-checkpoint-5-0123456789abcdef");
  EXPECT_EQ(newest(2), checkpoint(5));
  EXPECT_TRUE(holds(checkpoint(5), 1));
  EXPECT_THAT(leftovers(), IsEmpty());
}

}  // namespace
}  // namespace hone::testing

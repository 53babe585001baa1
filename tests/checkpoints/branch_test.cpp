// A run goes on from a checkpoint that is not the newest: the newer ones are nobody's any more.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <optional>
#include <set>

#include "checkpoint_fixture.hpp"
#include "fakes/faulty_file_ops.hpp"
#include "forged_manifest.hpp"
#include "hone/checkpoints/inspect.hpp"
#include "load.hpp"

namespace hone::testing {
namespace {

using checkpoints::Hdf5CheckpointStore;
using checkpoints::list_checkpoints;
using checkpoints::passed_over_checkpoints;
using checkpoints::repair_run_directory;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

class BranchTest : public CheckpointTest {
 protected:
  void SetUp() override {
    CheckpointTest::SetUp();
    for (const int step : {1, 2, 10, 20}) save(step, static_cast<unsigned>(step), 2);
  }

  /// Goes on from `checkpoint`, and saves `step` where one is given.
  void go_on_from(const fs::path& checkpoint, std::optional<std::int64_t> step = {}) {
    distributed::ThreadWorld{2}.run([&](Communicator& comm) {
      Hdf5CheckpointStore store{comm, logger_, options()};
      store.go_on_from(checkpoint);
      if (!step) return;
      auto tensors = sample_tensors(static_cast<unsigned>(*step));
      store.save(content_of(tensors, *step, static_cast<unsigned>(*step)));
    });
  }

  void damage(std::int64_t step) {
    auto bytes = read_file(checkpoint(step) / "rank-00000-of-00002.h5");
    bytes.back() ^= 1;
    write_file(checkpoint(step) / "rank-00000-of-00002.h5", bytes);
  }
};

TEST_F(BranchTest, NewerOnesAreMovedAsideWithTheFirstSave) {
  go_on_from(checkpoint(2));
  EXPECT_EQ(list_checkpoints(run_).size(), 4U) << "who only looks changes nothing";
  go_on_from(checkpoint(2), 3);
  EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(3), checkpoint(2), checkpoint(1)));
  EXPECT_THAT(leftovers(), UnorderedElementsAre(StartsWith(".aside-checkpoint-10-"),
                                                StartsWith(".aside-checkpoint-20-")));
  EXPECT_THAT(logger_.warnings(), ElementsAre(HasSubstr("checkpoint-20 is of a branch that the run has left"),
                                              HasSubstr("checkpoint-10 is of a branch that the run has left")));
  save(4, 4, 2, 2);
  EXPECT_EQ(leftovers().size(), 2U) << "a save does not clear them away";
  for (const auto& name : leftovers()) EXPECT_TRUE(fs::exists(run_ / name / "manifest.json"));
}

TEST_F(BranchTest, TornOnesAreMovedAsideToo) {
  fs::remove(checkpoint(20) / "manifest.json");
  fs::resize_file(checkpoint(10) / "manifest.json", 100);
  EXPECT_EQ(newest(2), checkpoint(2));
  go_on_from(checkpoint(2), 3);
  EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(3), checkpoint(2), checkpoint(1)));
  EXPECT_EQ(leftovers().size(), 2U);
}

/// The run comes to the step again, as where it saves at fixed intervals.
TEST_F(BranchTest, WhatIsInTheWayOfASaveIsMovedAsideWhole) {
  const auto former = read_file(checkpoint(10) / "rank-00000-of-00002.h5");
  go_on_from(checkpoint(2), 10);
  EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(10), checkpoint(2), checkpoint(1)));
  EXPECT_THAT(leftovers(), UnorderedElementsAre(StartsWith(".aside-checkpoint-10-"),
                                                StartsWith(".aside-checkpoint-20-")));
  for (const auto& name : leftovers()) {
    if (!name.starts_with(".aside-checkpoint-10-")) continue;
    EXPECT_EQ(read_file(run_ / name / "rank-00000-of-00002.h5"), former);
  }
}

TEST_F(BranchTest, WhatIsInTheWayIsLostAtNoCall) {
  const fs::path file = "rank-00000-of-00002.h5";  // the new one has another
  for (int call = 0;; ++call) {
    fs::remove_all(run_);
    for (const int step : {2, 10, 20}) save(step, static_cast<unsigned>(step), 2);
    const auto former = read_file(checkpoint(10) / file);
    auto files = FaultyFileOps::killed(call);
    try {
      distributed::LoopbackCommunicator alone;
      Hdf5CheckpointStore store{alone, logger_, options(), &files};
      store.go_on_from(checkpoint(2));
      auto tensors = sample_tensors(11);
      store.save(content_of(tensors, 10, 11));
    } catch (const Killed&) {
    } catch (const CheckpointError&) {
      EXPECT_TRUE(files.hit());
    }
    if (!files.hit()) break;
    const auto found = newest();
    EXPECT_TRUE(found == checkpoint(20) || holds(checkpoint(10), 11)) << call << files.hit_call();
    go_on_from(checkpoint(2), 3);
    int num_left = 0;
    for (const auto& folder : fs::directory_iterator{run_}) num_left += read_file(folder / file) == former;
    EXPECT_EQ(num_left, 1) << call << ' ' << files.hit_call();
  }
}

TEST_F(BranchTest, SoIsWhatIsBadOrOfALaterVersion) {
  damage(20);
  EXPECT_EQ(newest(2), checkpoint(10));
  go_on_from(checkpoint(10), 20);
  EXPECT_EQ(newest(2), checkpoint(20));
  EXPECT_THAT(leftovers(), ElementsAre(StartsWith(".aside-checkpoint-20-")));
  save(30, 30, 2);
  forge(checkpoint(30) / "manifest.json", "version\": 3", "version\": 9");
  go_on_from(checkpoint(20), 30);
  EXPECT_EQ(leftovers().size(), 2U);
}

TEST_F(BranchTest, WhatTheRunItselfWroteOrBeganFromIsReplaced) {
  distributed::LoopbackCommunicator alone;
  Hdf5CheckpointStore store{alone, logger_, options()};
  store.go_on_from(checkpoint(20));
  auto tensors = sample_tensors(21);
  for (const int step : {20, 21, 21}) store.save(content_of(tensors, step, 21));
  EXPECT_TRUE(holds(checkpoint(20), 21));
  EXPECT_THAT(leftovers(), IsEmpty());
}

/// A file or a link, which no start takes for a checkpoint.
TEST_F(BranchTest, WhatHasItsNameAloneIsMovedAsideToo) {
  write_file(run_ / "checkpoint-30", "somebody's");
  fs::create_symlink(root_ / "elsewhere", run_ / "checkpoint-31");
  for (const int step : {30, 31}) {
    save(step, 30, 2);
    EXPECT_EQ(newest(), checkpoint(step));
  }
  EXPECT_EQ(logger_.warnings().size(), 2U);
  int num_asides = 0;
  for (const auto& entry : fs::directory_iterator{run_}) {
    const auto name = entry.path().filename().string();
    num_asides += name.starts_with(".aside-checkpoint-30-") && read_file(entry.path()) == "somebody's";
    num_asides += name.starts_with(".aside-checkpoint-31-") && entry.is_symlink();
  }
  EXPECT_EQ(num_asides, 2);
}

/// The sync of the run directory fails once it is to.
class UnsureFileOps final : public FaultyFileOps {
 public:
  explicit UnsureFileOps(fs::path folder) : folder_(std::move(folder)) {}
  int open(const fs::path& path, int flags) override {
    const int fd = FaultyFileOps::open(path, flags);
    if (path == folder_) fd_of_folder_ = fd;
    return fd;
  }
  int rename(const fs::path& from, const fs::path& to) override {
    is_published_ = is_published_ || to.filename() == "checkpoint-10";
    return FaultyFileOps::rename(from, to);
  }
  int fsync(int fd) override {
    if (fd == fd_of_folder_ && is_published_.exchange(false)) return -EIO;
    return FaultyFileOps::fsync(fd);
  }

 private:
  fs::path folder_;
  std::atomic<int> fd_of_folder_ = -1;
  std::atomic<bool> is_published_ = false;
};

TEST_F(BranchTest, WhatCouldNotBeSaidToBeDurableStaysTheRunsOwn) {
  UnsureFileOps files{run_};
  distributed::LoopbackCommunicator alone;
  Hdf5CheckpointStore store{alone, logger_, options(), &files};
  store.go_on_from(checkpoint(2));
  auto tensors = sample_tensors(11);
  EXPECT_THROW(store.save(content_of(tensors, 10, 11)), CheckpointError);
  store.save(content_of(tensors, 12, 11));
  EXPECT_TRUE(holds(checkpoint(10), 11));
  EXPECT_THAT(leftovers(), UnorderedElementsAre(StartsWith(".aside-checkpoint-10-"),
                                                StartsWith(".aside-checkpoint-20-")));
}

TEST_F(BranchTest, AnEpochThatHoneNeverWroteIsNone) {
  const std::string long_one = std::string(5000, ' ') + R"({"run": "", "parent": null})";
  fs::remove_all(run_ / "epochs");  // one that is read would be the run's
  fs::create_directory(run_ / "epochs");
  for (const std::string text : {long_one, std::string{R"({"run": "a name of somebody's", "parent": null})"}}) {
    write_file(run_ / "epochs" / "000009.json", text);
    EXPECT_EQ(newest(), checkpoint(20));
  }
  go_on_from(checkpoint(20), 30);
  EXPECT_EQ(newest(), checkpoint(30));
}

TEST_F(BranchTest, NothingMovesForTheNewestOrAnotherRunsOrWhatALaterVersionWrote) {
  go_on_from(checkpoint(20), 21);
  fs::copy(run_, root_ / "other", fs::copy_options::recursive);
  go_on_from(root_ / "other" / "checkpoint-1", 22);
  forge(checkpoint(22) / "manifest.json", "version\": 3", "version\": 9");
  go_on_from(checkpoint(21), 23);
  EXPECT_EQ(list_checkpoints(run_).size(), 7U);
  EXPECT_EQ(list_checkpoints(root_ / "other").size(), 5U);
  EXPECT_THAT(logger_.warnings(), IsEmpty());
}

/// Two jobs that the lock cannot keep apart: on two machines of a file system without locks, say.
TEST_F(BranchTest, AnOwnerThatWasReplacedPublishesNothingMore) {
  distributed::LoopbackCommunicator alone;
  Hdf5CheckpointStore stale{alone, logger_, options()};
  auto tensors = sample_tensors(30);
  stale.go_on_from(checkpoint(20));
  stale.save(content_of(tensors, 30, 30));
  Hdf5CheckpointStore owner{alone, logger_, options()};
  owner.go_on_from(checkpoint(30));
  const auto thrown = thrown_by([&] { stale.save(content_of(tensors, 31, 30)); });
  EXPECT_EQ(thrown.code, ExitCode::Environment) << "no disk's fault: it is not tried again";
  EXPECT_THAT(thrown.text, HasSubstr("another job has taken over"));
  EXPECT_EQ(newest(), checkpoint(30));
  owner.save(content_of(tensors, 32, 30));
  EXPECT_EQ(newest(2), checkpoint(32));
}

/// It was stopped between its last look and its rename, and woke up.
TEST_F(BranchTest, WhatAReplacedOwnerPublishesTooLateIsPassedOver) {
  {
    distributed::LoopbackCommunicator alone;
    Hdf5CheckpointStore stale{alone, logger_, options()};
    auto tensors = sample_tensors(30);
    for (const int step : {30, 40}) stale.save(content_of(tensors, step, 30));
  }
  fs::rename(checkpoint(40), root_ / "late");
  go_on_from(checkpoint(30), 31);
  fs::rename(root_ / "late", checkpoint(40));
  EXPECT_EQ(newest(2), checkpoint(31));
  EXPECT_THAT(logger_.warnings(), ElementsAre(HasSubstr("passed over " + checkpoint(40).string())));
  save(32, 32, 2, /*limit=*/2);
  EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(32), checkpoint(31)));
  EXPECT_THAT(leftovers(), ElementsAre(StartsWith(".aside-checkpoint-40-")));
}

/// Of the same model, or of another: whoever it is copied to does not train on from it.
TEST_F(BranchTest, AnotherRunsCheckpointIsPassedOverAndMovedAside) {
  fs::rename(run_, root_ / "other");
  for (const int step : {1, 2}) save(step, 77, 2);
  fs::copy(root_ / "other" / "checkpoint-20", checkpoint(20), fs::copy_options::recursive);
  EXPECT_EQ(newest(2), checkpoint(2));
  EXPECT_THAT(logger_.warnings(),
              ElementsAre("passed over " + checkpoint(20).string() + ": it is of another run"));
  EXPECT_THAT(passed_over_checkpoints(run_), ElementsAre(Pair(checkpoint(20), "it is of another run")));
  EXPECT_TRUE(checkpoints::inspect_checkpoint(checkpoint(20)).verified());
  for (const int step : {1, 2}) damage(step);
  EXPECT_FALSE(repair_run_directory(run_).any_whole) << "no start would go on from it";
  for (const int step : {1, 2}) damage(step);
  go_on_from(checkpoint(2), 3);
  EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(3), checkpoint(2), checkpoint(1)));
  EXPECT_THAT(leftovers(), ElementsAre(StartsWith(".aside-checkpoint-20-")));
}

/// What is left of the run cannot be read: even then nobody trains on from another one.
TEST_F(BranchTest, AnotherRunsCheckpointIsNotTakenInPlaceOfTornOnes) {
  fs::rename(run_, root_ / "other");
  for (const int step : {1, 2}) save(step, 77, 2);
  fs::copy(root_ / "other" / "checkpoint-20", checkpoint(20), fs::copy_options::recursive);
  for (const int step : {1, 2}) fs::remove(checkpoint(step) / "manifest.json");
  EXPECT_FALSE(repair_run_directory(run_).any_whole);
  EXPECT_THAT(thrown_by([&] { newest(); }).text, HasSubstr("no checkpoint in"));
  for (const int step : {1, 2}) fs::remove_all(checkpoint(step));
  EXPECT_THAT(thrown_by([&] { newest(); }).text,
              AllOf(HasSubstr("are of another run"), HasSubstr("--resume_from_checkpoint")));
}

/// An earlier hone, which knows no names, has worked in between.
TEST_F(BranchTest, WhatHasNoNameStandsBetweenWhatHasOne) {
  go_on_from(checkpoint(20), 30);
  const auto epoch = run_ / "epochs" / "000005.json";
  forge(checkpoint(30) / "manifest.json", "\"run\": \"", "\"was\": \"");
  auto text = read_file(epoch);
  for (auto at = text.find("run"); at != std::string::npos; at = text.find("run")) text.replace(at, 3, "was");
  write_file(epoch, text);
  EXPECT_EQ(newest(2), checkpoint(30));
  EXPECT_THAT(passed_over_checkpoints(run_), IsEmpty());
  go_on_from(checkpoint(30), 40);
  EXPECT_EQ(newest(2), checkpoint(40));
  EXPECT_EQ(list_checkpoints(run_).size(), 6U);
  EXPECT_THAT(passed_over_checkpoints(run_), IsEmpty());
}

/// Who names it wants it.
TEST_F(BranchTest, ARunThatGoesOnFromAnotherOnesCheckpointIsThatRun) {
  fs::rename(run_, root_ / "other");
  for (const int step : {1, 2}) save(step, 77, 2);
  fs::copy(root_ / "other" / "checkpoint-10", checkpoint(10), fs::copy_options::recursive);
  go_on_from(checkpoint(10));
  EXPECT_EQ(newest(2), checkpoint(2)) << "nothing has come of it";
  go_on_from(checkpoint(10), 11);
  EXPECT_EQ(newest(2), checkpoint(11));
  EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(11), checkpoint(10)));
  go_on_from(checkpoint(11), 12);
  EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(12), checkpoint(11), checkpoint(10)));
}

/// As where somebody has copied the checkpoints alone.
TEST_F(BranchTest, WithoutEpochsTheNewestIsTheRun) {
  fs::remove_all(run_ / "epochs");
  EXPECT_EQ(newest(2), checkpoint(20));
  EXPECT_THAT(logger_.warnings(), IsEmpty());
  go_on_from(checkpoint(20), 21);
  EXPECT_EQ(newest(2), checkpoint(21));
  EXPECT_FALSE(passed_over_checkpoints(run_).contains(checkpoint(20)));
}

TEST_F(BranchTest, ARunMayGoBackToTheBranchThatItLeft) {
  go_on_from(checkpoint(2));
  EXPECT_EQ(newest(), checkpoint(20)) << "nothing has come of it";
  go_on_from(checkpoint(2), 3);
  EXPECT_EQ(newest(), checkpoint(3));
  for (const auto& name : leftovers()) {
    if (name.starts_with(".aside-checkpoint-20-")) fs::rename(run_ / name, checkpoint(20));
  }
  EXPECT_EQ(newest(), checkpoint(3));
  go_on_from(checkpoint(20), 21);
  EXPECT_EQ(newest(), checkpoint(21));
}

/// Two that began with nothing, and know nothing of each other.
TEST_F(BranchTest, AStartWithoutACheckpointHasNoParent) {
  fs::remove_all(run_);
  distributed::LoopbackCommunicator alone;
  auto tensors = sample_tensors(5);
  Hdf5CheckpointStore other{alone, logger_, options()}, own{alone, logger_, options()};
  for (auto* store : {&other, &own}) EXPECT_EQ(find_newest(*store), std::nullopt);
  other.save(content_of(tensors, 50, 5));
  own.save(content_of(tensors, 10, 5));
  EXPECT_EQ(newest(), checkpoint(10));
}

TEST_F(BranchTest, ATornEpochIsNone) {
  go_on_from(checkpoint(10), 11);
  write_file(run_ / "epochs" / "000099.json", "{");
  EXPECT_EQ(newest(), checkpoint(11));
  go_on_from(checkpoint(10), 12);
  EXPECT_TRUE(fs::exists(run_ / "epochs" / "000100.json"));
  EXPECT_EQ(newest(), checkpoint(12));
}

/// As a network file system may show it to another node: not there yet, `times` times.
class LateFileOps final : public FaultyFileOps {
 public:
  explicit LateFileOps(int times) : times_(times) {}
  int open(const fs::path& path, int flags) override {
    if (path.extension() == ".h5" && times_-- > 0) return -ENOENT;
    return FaultyFileOps::open(path, flags);
  }

 private:
  std::atomic<int> times_;
};

TEST_F(BranchTest, WhatAnotherNodeDoesNotSeeYetIsWaitedFor) {
  distributed::ThreadWorld{2}.run([&](Communicator& comm) {
    LateFileOps files{comm.rank() == 1 ? 5 : 0};
    Hdf5CheckpointStore store{comm, logger_, options(), &files};
    EXPECT_EQ(find_newest(store), checkpoint(20));
  });
  EXPECT_THAT(logger_.warnings(), IsEmpty());
}

TEST_F(BranchTest, WhatAnotherNodeNeverSeesIsNoDamage) {
  distributed::ThreadWorld{2}.run([&](Communicator& comm) {
    LateFileOps files{comm.rank() == 1 ? 1'000'000 : 0};
    const auto manifest = checkpoints::detail::read_manifest_everywhere(comm, files, checkpoint(20));
    const auto thrown = thrown_by([&] {
      checkpoints::detail::require_plausible(comm, files, checkpoint(20), manifest, std::chrono::milliseconds{30});
    });
    EXPECT_EQ(thrown.code, ExitCode::Environment);
    EXPECT_THAT(thrown.text, AllOf(HasSubstr("rank 1 does not see"), HasSubstr("that all nodes share")));
  });
}

/// What a load reads is not read again, and every byte counts all the same.
class LoadingTest : public CheckpointTest {
 protected:
  static constexpr std::int64_t kElements = 40;

  /// A whole tensor that is loaded, one that is not, and one in pieces, a row of each rank.
  void save_step(std::int64_t step) {
    distributed::ThreadWorld{2}.run([&](Communicator& comm) {
      Hdf5CheckpointStore store{comm, logger_, options()};
      auto whole = tensors(step);
      CheckpointContent content{.step = step, .tensors = whole.views(), .state_json = "{}",
                                .add_files = [](const fs::path& folder) { write_file(folder / "config.json", "{}"); }};
      content.tensors[2] = part(content.tensors[2], comm.rank(), 2);
      store.save(content);
    });
  }
  static Tensors tensors(std::int64_t step) {
    Tensors all{static_cast<unsigned>(step)};
    for (const char* name : {"loaded", "left", "pieces"}) all.add(name, DType::Float32, {kElements});
    return all;
  }
  static TensorBytes part(TensorBytes tensor, int rank, int ranks) {
    const std::int64_t count = kElements / ranks;
    tensor.first = rank * count;
    tensor.bytes = tensor.bytes.subspan(static_cast<std::size_t>(4 * tensor.first),
                                        static_cast<std::size_t>(4 * count));
    tensor.is_dealt = true;
    return tensor;
  }

  /// What `ranks` ranks load: the step, the same on all, whose tensors they then have.
  std::int64_t loaded_by(int ranks) {
    std::mutex mutex;
    std::set<std::int64_t> steps;
    distributed::ThreadWorld{ranks}.run([&](Communicator& comm) {
      Hdf5CheckpointStore store{comm, logger_, options()};
      auto mine = tensors(0);
      std::int64_t step = -1;
      const bool found = store.load_newest([&](const fs::path& newest) {
        auto views = mine.views();
        store.load_tensors(newest, std::vector{views[0], part(views[2], comm.rank(), ranks)});
        step = checkpoints::inspect_checkpoint(newest).step;
      });
      EXPECT_TRUE(found);
      auto expected = tensors(step);
      const auto got = mine.views(), wanted = expected.views();
      const auto same = [](const TensorBytes& a, const TensorBytes& b) { return std::ranges::equal(a.bytes, b.bytes); };
      EXPECT_TRUE(same(got[0], wanted[0]));
      EXPECT_TRUE(same(part(got[2], comm.rank(), ranks), part(wanted[2], comm.rank(), ranks)));
      const std::lock_guard lock{mutex};
      steps.insert(step);
    });
    EXPECT_EQ(steps.size(), 1U);
    return *steps.begin();
  }
};

TEST_F(LoadingTest, EveryByteCountsWhoeverLoadsIt) {
  save_step(10);
  save_step(20);
  for (const int ranks : {1, 2, 4}) {
    EXPECT_EQ(loaded_by(ranks), 20);
    for (const auto& entry : fs::directory_iterator{checkpoint(20)}) {
      const auto whole = read_file(entry.path());
      // Every tensor, piece and the HDF5 structure around them.
      for (std::size_t at = 0; at < whole.size(); at += 16 + whole.size() / 60) {
        auto bytes = whole;
        bytes[at] ^= 4;
        write_file(entry.path(), bytes);
        ASSERT_EQ(loaded_by(ranks), 10) << entry.path() << " byte " << at << ", " << ranks << " ranks";
      }
      write_file(entry.path(), whole);
    }
  }
}

TEST_F(LoadingTest, ANamedOneIsReadWholeToo) {
  save_step(10);
  save_step(20);
  const auto load_20 = [&] {
    distributed::LoopbackCommunicator alone;
    Hdf5CheckpointStore store{alone, logger_, options()};
    store.load_verified(checkpoint(20), [](const fs::path& newest) { EXPECT_EQ(newest.filename(), "checkpoint-20"); });
  };
  load_20();
  write_file(checkpoint(20) / "config.json", "[]");
  const auto thrown = thrown_by(load_20);
  EXPECT_EQ(thrown.code, ExitCode::InvalidData);
  EXPECT_THAT(thrown.text, AllOf(HasSubstr(checkpoint(20).string()), HasSubstr("config.json")));
  fs::remove_all(checkpoint(20));
  fs::copy(checkpoint(10), checkpoint(20), fs::copy_options::recursive);
  EXPECT_THAT(thrown_by(load_20).text, HasSubstr("is that of step 10"));
}

TEST_F(LoadingTest, WhatDoesNotFitOrIsRefusedByTheCallerIsNotPassedOver) {
  save_step(10);
  save_step(20);
  for (const bool misfits : {true, false}) {
    distributed::ThreadWorld{2}.run([&](Communicator& comm) {
      Hdf5CheckpointStore store{comm, logger_, options()};
      int calls = 0;
      Tensors other{1};
      other.add("another", DType::Float32, {4});
      const auto load = [&](const fs::path& newest) {
        ++calls;
        if (!misfits) throw ConfigError{"another seed"};
        store.load_tensors(newest, other.views());
      };
      EXPECT_THROW(store.load_newest(load), Error);
      EXPECT_EQ(calls, 1);
    });
  }
  EXPECT_THAT(logger_.warnings(), IsEmpty());
}

TEST_F(BranchTest, RepairMovesBadOnesAsideAndClearsUp) {
  EXPECT_THAT(repair_run_directory(run_).done, IsEmpty());
  damage(20);
  fs::create_directories(run_ / ".tmp-checkpoint-30-0123456789abcdef");
  fs::create_directories(run_ / ".trash-0123456789abcdef");
  fs::rename(checkpoint(10), run_ / ".replaced-checkpoint-10-0123456789abcdef");
  const auto [done, any_whole] = repair_run_directory(run_);
  EXPECT_TRUE(any_whole);
  EXPECT_THAT(done, ElementsAre(AllOf(HasSubstr("checkpoint-20 is bad"), HasSubstr(".aside-checkpoint-20-"),
                                      HasSubstr("does not match its digest")),
                                "checkpoint-10 is put back",
                                HasSubstr(".tmp-checkpoint-30-0123456789abcdef"),
                                HasSubstr(".trash-0123456789abcdef")));
  EXPECT_THAT(list_checkpoints(run_), ElementsAre(checkpoint(10), checkpoint(2), checkpoint(1)));
  EXPECT_THAT(leftovers(), ElementsAre(StartsWith(".aside-checkpoint-20-")));
  EXPECT_THAT(repair_run_directory(run_).done, IsEmpty());
}

TEST_F(BranchTest, RepairLeavesWhatALaterVersionWrote) {
  forge(checkpoint(20) / "manifest.json", "version\": 3", "version\": 9");
  EXPECT_THAT(repair_run_directory(run_).done,
              ElementsAre("checkpoint-20 is of a later version of hone, and stays"));
  EXPECT_EQ(list_checkpoints(run_).size(), 4U);
}

TEST_F(BranchTest, RepairLeavesTheBadWhereNoneIsWhole) {
  for (const int step : {1, 2, 10, 20}) damage(step);
  const auto [done, any_whole] = repair_run_directory(run_);
  EXPECT_FALSE(any_whole);
  EXPECT_EQ(done.size(), 4U);
  EXPECT_EQ(list_checkpoints(run_).size(), 4U);
}

/// Its successor went bad before the old one was deleted.
TEST_F(BranchTest, RepairPutsBackWhatABadOneReplaced) {
  fs::rename(checkpoint(20), run_ / ".replaced-checkpoint-20-0123456789abcdef");
  save(20, 77, 2);
  EXPECT_FALSE(fs::exists(run_ / ".replaced-checkpoint-20-0123456789abcdef")) << "a save clears it away";
  fs::copy(checkpoint(20), run_ / ".replaced-checkpoint-20-0123456789abcdef", fs::copy_options::recursive);
  damage(20);
  EXPECT_EQ(repair_run_directory(run_).done.size(), 2U);
  EXPECT_EQ(newest(2), checkpoint(20));
  EXPECT_TRUE(holds(checkpoint(20), 77));
}

}  // namespace
}  // namespace hone::testing

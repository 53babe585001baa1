// Every call to the file system fails once, and the process dies at every one of them.
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "checkpoint_fixture.hpp"
#include "fakes/faulty_file_ops.hpp"
#include "hone/checkpoints/inspect.hpp"

namespace hone::testing {
namespace {

using checkpoints::Hdf5CheckpointStore;
using checkpoints::inspect_checkpoint;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// What a save comes after, and what it writes.
struct Scene {
  const char* name;
  int ranks;
  std::vector<std::pair<std::int64_t, unsigned>> before;  ///< step, salt
  std::int64_t step;
  std::optional<int> limit;
};

std::ostream& operator<<(std::ostream& out, const Scene& scene) { return out << scene.name; }

class FaultTest : public CheckpointTest, public ::testing::WithParamInterface<Scene> {
 protected:
  static constexpr unsigned kNewSalt = 99;

  void set_the_scene() {
    fs::remove_all(run_);
    for (const auto& [step, salt] : GetParam().before) save(step, salt, GetParam().ranks);
    fs::create_directories(run_ / ".tmp-checkpoint-1-dead");
    write_file(run_ / ".tmp-checkpoint-1-dead" / "half.h5", "x");
  }

  /// As a run does that goes on from the newest.
  void save_new(checkpoints::FileOps* files = nullptr) {
    const auto from = checkpoints::list_checkpoints(run_).front();
    distributed::ThreadWorld{GetParam().ranks}.run([&](Communicator& comm) {
      Hdf5CheckpointStore store{comm, logger_, options(GetParam().limit), files};
      store.go_on_from(from);
      auto tensors = sample_tensors(kNewSalt);
      store.save(content_of(tensors, GetParam().step, kNewSalt));
    });
  }

  /// The new checkpoint or the newest of those before is found, whole. Returns: it is the new one.
  bool found_new_or_old() {
    const auto found = newest(GetParam().ranks);
    EXPECT_TRUE(found.has_value());
    if (!found) return false;
    if (*found == checkpoint(GetParam().step) && is_new(*found)) return true;
    const auto& [step, salt] = GetParam().before.back();
    EXPECT_EQ(*found, checkpoint(step));
    EXPECT_TRUE(holds(*found, salt));
    return false;
  }

  /// What is published, or would be put back by its name, is whole whenever it can be seen.
  void expect_whole_folders() {
    for (const auto& entry : fs::directory_iterator{run_}) {
      const auto name = entry.path().filename().string();
      if (name.starts_with(".replaced-") || name.starts_with("checkpoint-")) {
        EXPECT_EQ(inspect_checkpoint(entry.path()).problem, std::nullopt) << name;
      }
    }
  }

  /// The call worked on a file that the save writes, or on its folder. Not counted: closing a note
  /// that was read.
  bool touches_new_files(const std::string& call) {
    const bool is_read = call.starts_with("close") && call.ends_with(".note");
    return !is_read && !call.starts_with("unlink") && !call.starts_with("rmdir") &&
           call.find(".tmp-checkpoint-" + std::to_string(GetParam().step)) != std::string::npos;
  }

  bool is_new(const fs::path& path) {
    return inspect_checkpoint(path).state_json == state_of(kNewSalt) && holds(path, kNewSalt);
  }
};

TEST_P(FaultTest, KilledAtEveryCall) {
  bool seen_old = false;
  bool seen_new = false;
  for (int call = 0;; ++call) {
    set_the_scene();
    auto files = FaultyFileOps::killed(call);
    try {
      save_new(&files);
    } catch (const Killed&) {
    } catch (const Error&) {  // what the ranks said about it, with no disk to do anything on
      EXPECT_TRUE(files.hit());
    }
    if (!files.hit()) {
      EXPECT_GT(call, 20);
      break;
    }
    SCOPED_TRACE("killed at call " + std::to_string(call) + ": " + files.hit_call());
    expect_whole_folders();
    const bool is_new = found_new_or_old();
    (is_new ? seen_new : seen_old) = true;
    EXPECT_FALSE(seen_new && !is_new && GetParam().ranks == 1) << "published, then lost";
    EXPECT_THAT(logger_.warnings(), IsEmpty());
    save_new();  // the next run goes on
    EXPECT_TRUE(is_new || found_new_or_old());
    EXPECT_THAT(leftovers(), IsEmpty());
    if (HasFailure()) break;
  }
  EXPECT_TRUE(seen_old && seen_new);
}

TEST_P(FaultTest, PowerCutAtEveryCall) {
  for (int call = 0;; ++call) {
    set_the_scene();
    auto files = FaultyFileOps::killed(call);
    try {
      save_new(&files);
    } catch (const Killed&) {
    } catch (const Error&) {
      EXPECT_TRUE(files.hit());
    }
    SCOPED_TRACE("cut at call " + std::to_string(call) + ": " + files.hit_call());
    files.lose_what_was_not_synced();
    expect_whole_folders();
    const bool is_new = found_new_or_old();
    EXPECT_THAT(logger_.warnings(), IsEmpty());
    if (!files.hit()) {
      EXPECT_TRUE(is_new) << "the save returned, so it must last";
      break;
    }
    if (HasFailure()) break;
  }
}

TEST_P(FaultTest, FailingAtEveryCall) {
  for (const int error_number : {ENOSPC, EIO}) {
    int num_begun = 0;
    for (int call = 0;; ++call) {
      set_the_scene();
      auto files = FaultyFileOps::failing(call, error_number);
      std::optional<Thrown> thrown;
      try {
        save_new(&files);
      } catch (const CheckpointError& error) {
        thrown = Thrown{error.exit_code(), error.what()};
      }
      if (!files.hit()) {
        EXPECT_FALSE(thrown.has_value());
        break;
      }
      SCOPED_TRACE("failed at call " + std::to_string(call) + ": " + files.hit_call() +
                   (thrown ? "\n" + thrown->text : ""));
      const bool is_new = found_new_or_old();
      if (thrown) {
        EXPECT_EQ(thrown->code, error_number == ENOSPC ? ExitCode::RunHeld : ExitCode::Io);
        EXPECT_THAT(thrown->text, HasSubstr("(errno " + std::to_string(error_number) + ")"));
        EXPECT_THAT(thrown->text, HasSubstr(root_.string()));
        const bool has_begun = thrown->text.starts_with("saving");
        EXPECT_EQ(has_begun, thrown->text.find("The checkpoints that were there are untouched") != std::string::npos);
        num_begun += has_begun;
        // Only a sync after the rename can fail with the new one in place, and it says so.
        EXPECT_EQ(is_new, thrown->text.find("is complete, but") != std::string::npos);
        const auto own = ".tmp-checkpoint-" + std::to_string(GetParam().step);
        EXPECT_THAT(leftovers(), ::testing::Not(::testing::Contains(::testing::StartsWith(own))));
      } else {
        EXPECT_TRUE(is_new);
        EXPECT_FALSE(touches_new_files(files.hit_call())) << "a failure went unseen";
      }
      if (HasFailure()) return;
    }
    EXPECT_GT(num_begun, 10);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Scenes, FaultTest,
    ::testing::Values(Scene{"OneRank", 1, {{10, 1}}, 20, std::nullopt},
                      Scene{"TwoRanks", 2, {{10, 1}}, 20, std::nullopt},
                      Scene{"Retention", 1, {{10, 1}, {11, 2}}, 20, 1},
                      Scene{"SameStep", 1, {{10, 1}, {20, 2}}, 20, std::nullopt}),
    [](const auto& info) { return info.param.name; });

/// Where rank 0 cannot know: the share of another rank, which it would wait for.
TEST_F(CheckpointTest, AShareThatFailsIsHeardOf) {
  save(10, 1, 3);
  distributed::ThreadWorld{3}.run([&](Communicator& comm) {
    const bool fails = comm.rank() == 1;
    auto files = FaultyFileOps::failing(fails ? 2 : 1'000'000, ENOSPC);
    Hdf5CheckpointStore store{comm, logger_, options(), &files};
    auto tensors = sample_tensors(2);
    store.start_save(content_of(tensors, 20, 2));
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{20};
    while (fails && !store.save_is_settled() && std::chrono::steady_clock::now() < until) {
      std::this_thread::yield();
    }
    EXPECT_EQ(store.save_is_settled(), fails);
    const auto thrown = thrown_by([&] { store.finish_save(); });
    EXPECT_EQ(thrown.code, ExitCode::RunHeld);
    EXPECT_THAT(thrown.text, HasSubstr("rank-00001-of-00003"));
  });
  EXPECT_EQ(newest(3), checkpoint(10));
  EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_F(CheckpointTest, AStoreThatEndsSaysWhatItCouldNotWrite) {
  int told = 0;
  for (int call = 0;; ++call) {
    fs::remove_all(run_);
    RecordingLogger logger;
    auto files = FaultyFileOps::failing(call, ENOSPC);
    bool has_begun = false;
    try {
      distributed::LoopbackCommunicator comm;
      Hdf5CheckpointStore store{comm, logger, options(), &files};
      auto tensors = sample_tensors(1);
      store.start_save(content_of(tensors, 1, 1));
      has_begun = true;
      tensors.clear_bytes();
    } catch (const CheckpointError&) {
    }
    if (!files.hit()) break;
    if (!has_begun || newest()) continue;
    ++told;
    EXPECT_THAT(logger.warnings(), ::testing::Contains(HasSubstr("saving checkpoint-1"))) << call;
  }
  EXPECT_GT(told, 5);
}

/// By a caller whom an error has thrown out of its work, say.
TEST_F(CheckpointTest, ASaveThatNobodyFinishedIsFinishedByTheNextUse) {
  distributed::ThreadWorld{2}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    for (const unsigned step : {1U, 2U}) {
      auto tensors = sample_tensors(step);
      store.start_save(content_of(tensors, step, step));
      store.prepare_saves(sample_tensors(step).views());  // not the memory that is written
    }
    EXPECT_EQ(find_newest(store), checkpoint(2));
    EXPECT_FALSE(store.save_is_settled());
  });
  for (const unsigned step : {1U, 2U}) EXPECT_TRUE(holds(checkpoint(step), step));
}

TEST_F(CheckpointTest, KilledWhilePuttingBackAnInterruptedReplacement) {
  for (int call = 0;; ++call) {
    fs::remove_all(run_);
    save(10, 1);
    save(20, 2);
    fs::rename(checkpoint(20), run_ / ".replaced-checkpoint-20-00");
    auto files = FaultyFileOps::killed(call);
    try {
      distributed::LoopbackCommunicator comm;
      Hdf5CheckpointStore store{comm, logger_, options(), &files};
      find_newest(store);
    } catch (const Killed&) {
    } catch (const CheckpointError&) {
      EXPECT_TRUE(files.hit());
    }
    if (!files.hit()) break;
    EXPECT_EQ(newest(), checkpoint(20)) << call << ' ' << files.hit_call();
    EXPECT_TRUE(holds(checkpoint(20), 2));
  }
}

TEST_F(CheckpointTest, WhatTheFirstSaveReturnsSurvivesAPowerCut) {
  run_ = root_ / "new" / "deep" / "run";
  FaultyFileOps files;
  distributed::LoopbackCommunicator comm;
  Hdf5CheckpointStore store{comm, logger_, options(), &files};
  auto tensors = sample_tensors(1);
  auto content = content_of(tensors, 1, 1);
  content.add_files = [](const fs::path& folder) { write_file(folder / "config.json", "{}"); };
  store.save(content);
  files.lose_what_was_not_synced();
  EXPECT_EQ(newest(), checkpoint(1));
  EXPECT_TRUE(holds(checkpoint(1), 1));
  EXPECT_EQ(read_file(checkpoint(1) / "config.json"), "{}");
}

class LogTest : public CheckpointTest {
 protected:
  void SetUp() override {
    CheckpointTest::SetUp();
    fs::create_directories(run_);
    log_ = run_ / "metrics.jsonl";
    write_file(log_, "{\"step\":1}\n");
  }

  void save_with_log(FaultyFileOps& files) {
    auto with_log = options();
    with_log.log_file = log_.filename();
    distributed::LoopbackCommunicator comm;
    Hdf5CheckpointStore store{comm, logger_, with_log, &files};
    auto tensors = sample_tensors(1);
    store.save(content_of(tensors, 1, 1));
  }

  const fs::path& log_path() const { return log_; }

 private:
  fs::path log_;
};

TEST_F(LogTest, IsDurableBeforeTheCheckpoint) {
  for (int call = 0;; ++call) {
    fs::remove_all(checkpoint(1));
    auto files = FaultyFileOps::killed(call);
    try {
      save_with_log(files);
    } catch (const Killed&) {
    } catch (const Error&) {
    }
    if (fs::exists(checkpoint(1))) {
      EXPECT_TRUE(files.has_synced(log_path())) << files.hit_call();
    }
    if (!files.hit()) break;
  }
  EXPECT_TRUE(fs::exists(checkpoint(1)));
}

TEST_F(LogTest, ThatCannotBeSyncedIsAWarning) {
  for (int call = 0;; ++call) {
    fs::remove_all(checkpoint(1));
    auto files = FaultyFileOps::failing(call, EIO);
    try {
      save_with_log(files);
    } catch (const Error&) {
    }
    ASSERT_TRUE(files.hit()) << "the log was not synced";
    if (files.hit_call() == "fsync " + log_path().string()) break;
  }
  EXPECT_TRUE(holds(checkpoint(1), 1));
  EXPECT_THAT(logger_.warnings(), Contains(HasSubstr("a power cut may take records")));
}

TEST_F(CheckpointTest, ShortReadsAndWritesAreContinued) {
  FaultyFileOps files;
  files.limit_transfers(7);
  save(1, 1, 2, {}, &files);
  EXPECT_EQ(newest(), checkpoint(1));
  distributed::LoopbackCommunicator comm;
  Hdf5CheckpointStore store{comm, logger_, options(), &files};
  EXPECT_EQ(find_newest(store), checkpoint(1));
  auto loaded = sample_tensors(1);
  loaded.clear_bytes();
  store.load_tensors(checkpoint(1), loaded.views());
  EXPECT_EQ(loaded, sample_tensors(1));
}

TEST_F(CheckpointTest, AReadErrorWhileVerifyingIsAReasonToRefuse) {
  save(10, 1);
  save(20, 2);
  int refused = 0;
  for (int call = 0;; ++call) {
    auto files = FaultyFileOps::failing(call, EIO);
    distributed::LoopbackCommunicator comm;
    RecordingLogger logger;
    Hdf5CheckpointStore store{comm, logger, options(), &files};
    try {
      const auto found = find_newest(store);
      if (!files.hit()) break;
      EXPECT_EQ(found, logger.warnings().empty() ? checkpoint(20) : checkpoint(10));
      refused += found == checkpoint(10);
    } catch (const CheckpointError& error) {
      EXPECT_EQ(error.exit_code(), ExitCode::Io) << files.hit_call();
      EXPECT_THAT(files.hit_call(), AnyOf(HasSubstr("list"), HasSubstr("/epochs"))) << "what all depends on";
    }
  }
  EXPECT_GT(refused, 5);
}

/// Root may write anywhere: as root the body runs as nobody.
class OrdinaryUser {
 public:
  OrdinaryUser() : was_root_(::geteuid() == 0) {
    if (was_root_ && ::seteuid(kNobody) != 0) ADD_FAILURE() << "seteuid";
  }
  OrdinaryUser(const OrdinaryUser&) = delete;
  OrdinaryUser& operator=(const OrdinaryUser&) = delete;
  ~OrdinaryUser() {
    if (was_root_ && ::seteuid(0) != 0) ADD_FAILURE() << "seteuid";
  }

 private:
  static constexpr uid_t kNobody = 65534;
  bool was_root_;
};

TEST_F(CheckpointTest, AReadOnlyDirectoryIsNamed) {
  fs::create_directories(run_);
  constexpr auto kReadOnly = fs::perms{0555};
  fs::permissions(run_, kReadOnly);
  fs::permissions(root_, kReadOnly);
  std::optional<OrdinaryUser> user{std::in_place};
  distributed::ThreadWorld{2}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    auto tensors = sample_tensors(1);
    const auto thrown = thrown_by([&] { store.save(content_of(tensors, 1, 1)); });
    EXPECT_EQ(thrown.code, ExitCode::Io);
    EXPECT_THAT(thrown.text, AllOf(HasSubstr("Permission denied"), HasSubstr(run_.string())));
  });
  user.reset();
  fs::permissions(root_, fs::perms::owner_all);
  fs::permissions(run_, fs::perms::owner_all);
}

TEST_F(CheckpointTest, ARunDirectoryThatIsAFileIsNamed) {
  write_file(run_, "a file");
  distributed::ThreadWorld{2}.run([&](Communicator& comm) {
    Hdf5CheckpointStore store{comm, logger_, options()};
    auto tensors = sample_tensors(1);
    const auto thrown = thrown_by([&] { store.save(content_of(tensors, 1, 1)); });
    EXPECT_EQ(thrown.code, ExitCode::Io);
    EXPECT_THAT(thrown.text, AllOf(HasSubstr("Not a directory"), HasSubstr(run_.string())));
  });
}

}  // namespace
}  // namespace hone::testing

#include "hone/launcher/loop/run_directory.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <mutex>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes/file_size_limit.hpp"
#include "fakes/temp_dir.hpp"
#include "fakes/warning_log.hpp"
#include "hone/core/error.hpp"
#include "hone/distributed/thread_world.hpp"

namespace hone::launcher {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using distributed::ThreadWorld;
namespace fs = std::filesystem;

class RunDirectoryTest : public ::testing::Test {
 protected:
  /// Opens the directory on `size` ranks and runs `body` there.
  template <typename Body>
  void with_directory(int size, const std::string& resume, Body&& body) {
    ThreadWorld{size}.run([&](Communicator& comm) {
      NullLogger logger;
      RunDirectory directory{comm, run_, resume, logger};
      body(comm, directory);
    });
  }

  /// The error that all of two ranks get from opening the directory.
  std::pair<std::string, ExitCode> refusal(const std::string& resume = "false") {
    std::set<std::pair<std::string, ExitCode>> errors;
    std::mutex mutex;
    ThreadWorld{2}.run([&](Communicator& comm) {
      std::pair<std::string, ExitCode> error{"opened", ExitCode::Success};
      NullLogger logger;
      try {
        RunDirectory directory{comm, run_, resume, logger};
      } catch (const Error& caught) {
        error = {caught.what(), caught.exit_code()};
      }
      const std::lock_guard lock{mutex};
      errors.insert(error);
    });
    EXPECT_EQ(errors.size(), 1U) << "the ranks disagree";
    return *errors.begin();
  }

  hone::testing::TempDir dir_;
  fs::path run_ = dir_.path() / "runs" / "a";
};

SampleRecord sample(std::int64_t prompt_index, std::int64_t k, int rank) {
  return {.round = 3,
          .step = 17,
          .prompt_index = prompt_index,
          .k = k,
          .rank = rank,
          .prompt = "1+1=\n\"",
          .completion = "caf\xC3\xA9 \x1b",
          .prompt_ids = {16, 2, 16},
          .completion_ids = {5, 0, 49151},
          .finish_reason = "eos",
          .reward = 0.1,
          .kept = k == 0,
          .outcome = k == 0 ? "kept" : "not_best"};
}

TEST_F(RunDirectoryTest, MakesTheFolderAndItsFiles) {
  with_directory(3, "false", [](Communicator& comm, RunDirectory& directory) {
    directory.write_config("rank: " + std::to_string(comm.rank()) + "\n");
    directory.append_metrics("{\"step\":1,\"rank\":" + std::to_string(comm.rank()) + "}");
    directory.append_metrics("{\"step\":2}");
  });
  EXPECT_EQ(dir_.read("runs/a/config.yaml"), "rank: 0\n");
  EXPECT_EQ(dir_.read("runs/a/metrics.jsonl"), "{\"step\":1,\"rank\":0}\n{\"step\":2}\n");
  EXPECT_FALSE(fs::exists(run_ / "samples")) << "hone train samples nothing";
}

TEST_F(RunDirectoryTest, SamplesOfAllRanksComeInOrder) {
  for (const int size : {1, 2, 4}) {
    with_directory(size, "auto", [&](Communicator& comm, RunDirectory& directory) {
      std::vector<SampleRecord> mine;
      for (std::int64_t prompt = 5; prompt-- > 0;) {
        if (prompt % comm.size() != comm.rank()) continue;
        mine.push_back(sample(prompt, 1, comm.rank()));
        mine.push_back(sample(prompt, 0, comm.rank()));
      }
      directory.write_samples(3, mine);
      EXPECT_EQ(directory.samples_file(3).filename(), "round-0003.jsonl");
      const auto read = directory.read_samples(3);
      ASSERT_TRUE(read.has_value());
      ASSERT_EQ(read->size(), 10U);
      for (std::int64_t i = 0; i < 10; ++i) {
        EXPECT_EQ((*read)[static_cast<std::size_t>(i)],
                  sample(i / 2, i % 2, static_cast<int>(i / 2) % comm.size()));
      }
      EXPECT_FALSE(directory.read_samples(4).has_value());
    });
  }
  EXPECT_THAT(
      dir_.read("runs/a/samples/round-0003.jsonl"),
      ::testing::StartsWith(
          "{\"round\":3,\"step\":17,\"prompt_index\":0,\"k\":0,\"rank\":0,\"prompt\":\"1+1="
          "\\n\\\"\","
          "\"completion\":\"caf\xC3\xA9 \\u001b\",\"prompt_ids\":[16,2,16],\"completion_ids\":[5,0,49151],"
          "\"finish_reason\":\"eos\",\"reward\":0.1,\"kept\":true,\"outcome\":\"kept\"}\n"));
  EXPECT_EQ(std::distance(fs::directory_iterator{run_ / "samples"}, {}), 1)
      << "a temporary file stayed";
}

TEST_F(RunDirectoryTest, ARoundWithoutSamplesIsNotARoundWithoutAFile) {
  with_directory(2, "false", [](Communicator&, RunDirectory& directory) {
    directory.write_samples(1, {});
    ASSERT_TRUE(directory.read_samples(1).has_value());
    EXPECT_TRUE(directory.read_samples(1)->empty());
  });
}

TEST_F(RunDirectoryTest, ACompletionCutInACharacterIsStillWritten) {
  with_directory(1, "false", [](Communicator&, RunDirectory& directory) {
    auto cut = sample(0, 0, 0);
    cut.completion = "\xF0\x9F";
    directory.write_samples(1, {{cut}});
    EXPECT_EQ(directory.read_samples(1)->at(0).completion_ids, cut.completion_ids);
  });
}

TEST_F(RunDirectoryTest, SamplesThatOnlyTheirDigestTellsFromThoseWrittenAreRefused) {
  with_directory(2, "false", [&](Communicator& comm, RunDirectory& directory) {
    std::vector<SampleRecord> mine;
    if (comm.rank() == 0) mine.push_back(sample(0, 0, 0));
    const auto digest = directory.write_samples(1, mine);
    EXPECT_EQ(digest.size(), 64U);
    EXPECT_EQ(directory.read_samples(1, digest)->size(), 1U);
    if (comm.rank() == 0) {
      auto text = dir_.read("runs/a/samples/round-0001.jsonl");
      dir_.write("runs/a/samples/round-0001.jsonl", text.replace(text.find("[5,"), 3, "[6,"));
    }
    EXPECT_EQ(directory.read_samples(1)->size(), 1U);
    try {
      directory.read_samples(1, digest);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("round-0001.jsonl is not as the run wrote it"));
      EXPECT_EQ(error.exit_code(), ExitCode::InvalidData);
    }
  });
}

TEST_F(RunDirectoryTest, DamagedSamplesAreNamed) {
  with_directory(2, "false", [&](Communicator& comm, RunDirectory& directory) {
    for (const auto& [text, complaint] : std::vector<std::pair<std::string, std::string>>{
             {"{\"round\": 1}\n", "round-0001.jsonl:1: the key step is missing"},
             {"\n{broken\n", "round-0001.jsonl:2:2: not valid JSON"},
             {"{\"round\": \"x\"}", "the key round is missing or of another type"}}) {
      if (comm.rank() == 0) dir_.write("runs/a/samples/round-0001.jsonl", text);
      try {
        directory.read_samples(1);
        ADD_FAILURE() << "read " << text;
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr(complaint));
        EXPECT_EQ(error.exit_code(), ExitCode::InvalidData);
      }
      comm.barrier();
    }
  });
}

TEST_F(RunDirectoryTest, AUsedFolderIsRefusedUnlessResuming) {
  for (const char* used : {"checkpoint-500/manifest.json", "samples/round-0001.jsonl",
                           "metrics.jsonl", "model.safetensors", "config.json"}) {
    fs::remove_all(run_);
    dir_.write("runs/a/" + std::string{used}, "x");
    const auto [message, code] = refusal();
    const std::string name{used};
    EXPECT_THAT(
        message,
        HasSubstr("runs/a already holds " + name.substr(0, name.find('/')) +
                  ". Continue: --resume_from_checkpoint auto. New run: another --output_dir"));
    EXPECT_EQ(code, ExitCode::Usage);
  }
}

TEST_F(RunDirectoryTest, ResumingGoesOnWhereARunWasAndOverwritesNoModel) {
  for (const char* used : {"checkpoint-500/manifest.json", "samples/round-0001.jsonl", "metrics.jsonl"}) {
    fs::remove_all(run_);
    dir_.write("runs/a/" + std::string{used}, "x");
    EXPECT_EQ(refusal("auto").first, "opened") << used;
  }
  for (const char* model : {"model.safetensors", "model.safetensors.index.json", "config.json"}) {
    fs::remove_all(run_);
    dir_.write("runs/a/" + std::string{model}, "x");
    const auto [message, code] = refusal("auto");
    EXPECT_THAT(message, AllOf(HasSubstr(model), HasSubstr("no checkpoint to go on from")));
    EXPECT_EQ(code, ExitCode::Usage);
    dir_.write("runs/a/checkpoint-3/manifest.json", "x");
    EXPECT_EQ(refusal("auto").first, "opened") << "a finished run goes on from its checkpoint";
  }
}

TEST_F(RunDirectoryTest, AnOlderCheckpointIsNoPlaceToGoOnBesideNewerOnes) {
  for (const char* name : {"checkpoint-3", "checkpoint-20"}) {
    dir_.write("runs/a/" + std::string{name} + "/manifest.json", "x");
  }
  for (const std::string end : {"", "/"}) {
    const auto [message, code] = refusal((run_ / "checkpoint-3").string() + end);
    EXPECT_THAT(message, AllOf(HasSubstr("holds checkpoint-20, which is newer than checkpoint-3"),
                               HasSubstr("--output_dir"), HasSubstr("auto")));
    EXPECT_EQ(code, ExitCode::Usage);
    EXPECT_EQ(refusal((run_ / "checkpoint-20").string() + end).first, "opened");
  }
}

TEST_F(RunDirectoryTest, ACheckpointThatIsBeingReplacedCounts) {
  fs::create_directories(run_ / ".replaced-checkpoint-20-0123456789abcdef");
  EXPECT_THAT(refusal().first, HasSubstr("already holds checkpoint-20"));
  EXPECT_EQ(refusal("auto").first, "opened");
}

TEST_F(RunDirectoryTest, WhatIsGoneOnFromInAnotherFolderComesFromThere) {
  const auto other = dir_.path() / "runs/b";
  fs::create_directories(other / "checkpoint-3");
  dir_.write("runs/b/config.yaml", "seed: 8\n");
  dir_.write("runs/b/samples/round-0003.jsonl", to_json_line(sample(0, 0, 0)) + "\n");
  with_directory(2, (other / "checkpoint-3").string(), [&](Communicator&, RunDirectory& directory) {
    EXPECT_EQ(directory.read_config(), "seed: 8\n");
    EXPECT_EQ(directory.read_samples(3).value().size(), 1U);
    EXPECT_FALSE(directory.read_samples(4).has_value());
  });
  EXPECT_EQ(dir_.read("runs/a/samples/round-0003.jsonl"),
            dir_.read("runs/b/samples/round-0003.jsonl"));
}

TEST_F(RunDirectoryTest, ACheckpointOfAnotherRunStartsAFolderOfItsOwn) {
  const auto other = (dir_.path() / "runs/b/checkpoint-3").string();
  EXPECT_EQ(refusal(other).second, ExitCode::MissingInput);
  fs::create_directories(other);
  EXPECT_EQ(refusal(other).first, "opened");
  dir_.write("runs/a/checkpoint-1/manifest.json", "x");
  EXPECT_THAT(refusal(other).first, HasSubstr("already holds checkpoint-1"));
}

TEST_F(RunDirectoryTest, TheConfigurationOfAnEarlierStartIsReadOnEveryRank) {
  with_directory(2, "false", [](Communicator&, RunDirectory& directory) {
    EXPECT_EQ(directory.read_config(), "");
    directory.write_config("seed: 1\n");
    EXPECT_EQ(directory.read_config(), "seed: 1\n");
  });
}

TEST_F(RunDirectoryTest, TheNewestCheckpointIsNamed) {
  for (const char* name :
       {"checkpoint-90", "checkpoint-500", "checkpoint-7", "checkpoint-x", "checkpoint-"}) {
    fs::create_directories(run_ / name);
  }
  EXPECT_THAT(refusal().first, HasSubstr("checkpoint-500"));
}

TEST_F(RunDirectoryTest, WhatIsOnlyNamedLikeACheckpointIsNone) {
  dir_.write("runs/a/checkpoint-9", "a file");
  fs::create_directories(run_ / "checkpoint-0009");
  EXPECT_EQ(refusal().first, "opened");
  dir_.write("runs/a/config.json", "{}");
  EXPECT_THAT(refusal("auto").first, HasSubstr("holds a model (config.json) but no checkpoint to go on from"));
}

TEST_F(RunDirectoryTest, ARunThatNeverBeganAndForeignFilesAreInNobodysWay) {
  with_directory(1, "false",
                 [](Communicator&, RunDirectory& directory) { directory.write_config("a: 1\n"); });
  dir_.write("runs/a/notes.txt", "mine");
  dir_.write("runs/a/logs/rank-0.log", "started");
  EXPECT_EQ(refusal().first, "opened");
}

TEST_F(RunDirectoryTest, AFileIsNoFolder) {
  dir_.write("runs/a", "x");
  EXPECT_EQ(refusal().second, ExitCode::Usage);
  EXPECT_THAT(refusal().first, HasSubstr("is a file"));
}

TEST_F(RunDirectoryTest, AFolderThatCannotBeMadeIsAnIoError) {
  run_ = "/proc/hone-test/run";
  EXPECT_EQ(refusal().second, ExitCode::Io);
  EXPECT_THAT(refusal().first, HasSubstr("/proc/hone-test/run: creating the folder failed"));
}

TEST_F(RunDirectoryTest, ASecondRunIsRefusedAndTheOwnerNamed) {
  with_directory(1, "false", [&](Communicator&, RunDirectory&) {
    for (const char* resume : {"false", "auto"}) {
      const auto [message, code] = refusal(resume);
      EXPECT_THAT(message,
                  AllOf(HasSubstr("runs/a is in use by pid " + std::to_string(::getpid()) + " on "),
                        HasSubstr("--output_dir"), Not(HasSubstr("\n"))));
      EXPECT_EQ(code, ExitCode::RunHeld);
    }
  });
  EXPECT_EQ(refusal().first, "opened") << "the lock must end with the run";
}

TEST_F(RunDirectoryTest, AKilledRunHoldsNothing) {
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const pid_t owner = ::fork();
  if (owner == 0) {
    fs::create_directories(run_);
    NullLogger logger;
    const RunLock lock{run_, logger};
    [[maybe_unused]] const auto written = ::write(pipe_ends[1], "x", 1);
    for (;;) ::pause();
  }
  char ready = 0;
  ASSERT_EQ(::read(pipe_ends[0], &ready, 1), 1);
  EXPECT_EQ(refusal().second, ExitCode::RunHeld);
  EXPECT_TRUE(RunLock::is_held_by_other(run_, RunLock::owner_name()));
  EXPECT_TRUE(RunLock::is_held_by_other(run_, ""));
  std::string name = RunLock::owner_name();
  name.replace(0, name.find(" on "), "pid " + std::to_string(owner));
  EXPECT_FALSE(RunLock::is_held_by_other(run_, name));
  ::kill(owner, SIGKILL);
  ::waitpid(owner, nullptr, 0);
  EXPECT_FALSE(RunLock::is_held_by_other(run_, RunLock::owner_name()));
  EXPECT_EQ(refusal().first, "opened");
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
}

TEST_F(RunDirectoryTest, AResumedRunLeavesNoMetricTwice) {
  dir_.write("runs/a/metrics.jsonl",
             "{\"step\":1,\"round\":1}\n"
             "{\"kind\":\"round\",\"round\":1}\n"
             "{\"kind\":\"eval\",\"step\":1}\n"
             "{\"note\":\"neither\"}\n"
             "{\"step\":2,\"round\":3}\n"
             "{\"step\":3,\"round\":2}\n"
             "{\"kind\":\"round\",\"round\":3,\"step\":2}\n"
             "{\"kind\":\"eval\",\"step\":2}\n"
             "garbage\n"
             "{\"step\":1,\"ro");
  with_directory(2, "auto", [](Communicator&, RunDirectory& directory) {
    directory.discard_metrics_after(2, 2);
    directory.append_metrics("{\"step\":3,\"again\":true}");
  });
  EXPECT_EQ(dir_.read("runs/a/metrics.jsonl"),
            "{\"step\":1,\"round\":1}\n{\"kind\":\"round\",\"round\":1}\n"
            "{\"kind\":\"eval\",\"step\":1}\n{\"note\":\"neither\"}\n"
            "{\"step\":2,\"round\":3}\n{\"kind\":\"eval\",\"step\":2}\n"
            "{\"step\":3,\"again\":true}\n");
}

TEST_F(RunDirectoryTest, DiscardingAfterAppendingGoesOnInTheSameFile) {
  with_directory(1, "false", [](Communicator&, RunDirectory& directory) {
    directory.discard_metrics_after(0, 0);
    directory.append_metrics("{\"step\":1}");
    directory.append_metrics("{\"step\":2}");
    directory.discard_metrics_after(1, 0);
    directory.append_metrics("{\"step\":2,\"again\":true}");
  });
  EXPECT_EQ(dir_.read("runs/a/metrics.jsonl"), "{\"step\":1}\n{\"step\":2,\"again\":true}\n");
}

TEST(MetricsLog, AFullDiskIsOneWarningAndNoHalfLine) {
  hone::testing::TempDir dir;
  hone::testing::WarningLog logger;
  MetricsLog log{dir.path() / "metrics.jsonl", logger};
  log.append("{\"step\":1}");
  {
    const hone::testing::FileSizeLimit full_disk{16};
    log.append("{\"step\":2}");
    log.append("{\"step\":3}");
  }
  log.append("{\"step\":4}");
  EXPECT_EQ(dir.read("metrics.jsonl"), "{\"step\":1}\n{\"step\":4}\n");
  EXPECT_THAT(logger.warnings,
              ElementsAre(HasSubstr("metrics.jsonl cannot be written (File too large)")));
}

TEST(MetricsLog, AMissingFolderIsOneWarning) {
  hone::testing::TempDir dir;
  hone::testing::WarningLog logger;
  MetricsLog log{dir.path() / "absent" / "metrics.jsonl", logger};
  log.append("{}");
  log.append("{}");
  EXPECT_EQ(logger.warnings.size(), 1U);
}

TEST_F(RunDirectoryTest, AFailedWriteLeavesTheOldFile) {
  with_directory(1, "false", [&](Communicator&, RunDirectory& directory) {
    directory.write_config("old: 1\n");
    {
      const hone::testing::FileSizeLimit full_disk{16};
      EXPECT_THROW(directory.write_config(std::string(100, 'x')), Error);
    }
  });
  EXPECT_EQ(dir_.read("runs/a/config.yaml"), "old: 1\n");
  EXPECT_FALSE(fs::exists(run_ / "config.yaml.partial"));
}

}  // namespace
}  // namespace hone::launcher

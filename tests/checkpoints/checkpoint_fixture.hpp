#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "find_newest.hpp"
#include "hone/checkpoints/hdf5_checkpoint_store.hpp"
#include "hone/core/error.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "hone/distributed/thread_world.hpp"
#include "sample_content.hpp"

namespace hone::testing {

namespace fs = std::filesystem;

/// Keeps what was logged.
class RecordingLogger final : public Logger {
 public:
  void write(LogLevel level, std::string_view message) override {
    const std::lock_guard lock{mutex_};
    if (level == LogLevel::Warning) warnings_.emplace_back(message);
    if (level == LogLevel::Info) infos_.emplace_back(message);
  }
  void clear() {
    warnings_.clear();
    infos_.clear();
  }
  const std::vector<std::string>& warnings() const { return warnings_; }
  const std::vector<std::string>& infos() const { return infos_; }

 private:
  std::mutex mutex_;
  std::vector<std::string> warnings_;
  std::vector<std::string> infos_;
};

/// A run directory that is gone after the test, and stores in it.
class CheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // Thousands of syncs: in memory where there is such a place.
    const fs::path base = fs::exists("/dev/shm") ? fs::path{"/dev/shm"} : fs::temp_directory_path();
    std::string pattern = (base / "hone-checkpoints-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    run_ = root_ / "run";
  }
  void TearDown() override { fs::remove_all(root_); }

  checkpoints::StoreOptions options(std::optional<int> limit = std::nullopt) const {
    return {run_, limit};
  }

  /// Saves sample_tensors(salt) as `step` from `ranks` ranks.
  void save(std::int64_t step, unsigned salt, int ranks = 1, std::optional<int> limit = {},
            checkpoints::FileOps* files = nullptr) {
    distributed::ThreadWorld{ranks}.run([&](Communicator& comm) {
      checkpoints::Hdf5CheckpointStore store{comm, logger_, options(limit), files};
      auto tensors = sample_tensors(salt);
      EXPECT_EQ(store.save(content_of(tensors, step, salt)),
                run_ / ("checkpoint-" + std::to_string(step)));
    });
  }

  /// What find_newest() says to `ranks` ranks, which must agree.
  std::optional<fs::path> newest(int ranks = 1) {
    std::mutex mutex;
    std::vector<std::optional<fs::path>> answers;
    distributed::ThreadWorld{ranks}.run([&](Communicator& comm) {
      checkpoints::Hdf5CheckpointStore store{comm, logger_, options()};
      const auto answer = find_newest(store);
      const std::lock_guard lock{mutex};
      answers.push_back(answer);
    });
    for (const auto& answer : answers) EXPECT_EQ(answer, answers.front());
    return answers.front();
  }

  /// True where `checkpoint` holds exactly sample_tensors(salt) and its state.
  bool holds(const fs::path& checkpoint, unsigned salt) {
    distributed::LoopbackCommunicator comm;
    checkpoints::Hdf5CheckpointStore store{comm, logger_, options()};
    const auto expected = sample_tensors(salt);
    auto loaded = sample_tensors(salt);
    loaded.clear_bytes();
    store.load_tensors(checkpoint, loaded.views());
    return loaded == expected && store.load_state(checkpoint) == state_of(salt);
  }

  /// Names in the run directory that are not a published checkpoint.
  std::vector<std::string> leftovers() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator{run_}) {
      const auto name = entry.path().filename().string();
      if (!name.starts_with("checkpoint-") && name != "epochs" && name != kLog) names.push_back(name);
    }
    return names;
  }

  fs::path checkpoint(std::int64_t step) const {
    return run_ / ("checkpoint-" + std::to_string(step));
  }

  fs::path root_;
  fs::path run_;
  RecordingLogger logger_;
};

inline std::string read_file(const fs::path& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

inline void write_file(const fs::path& path, const std::string& bytes) {
  std::ofstream{path, std::ios::binary | std::ios::trunc} << bytes;
}

/// What `action` throws, by exit code and text; fails the test where it throws nothing of hone's.
struct Thrown {
  ExitCode code = ExitCode::Success;
  std::string text;
};
inline Thrown thrown_by(const std::function<void()>& action) {
  try {
    action();
  } catch (const CheckpointError& error) {
    return {error.exit_code(), error.what()};
  }
  ADD_FAILURE() << "no CheckpointError";
  return {};
}

}  // namespace hone::testing

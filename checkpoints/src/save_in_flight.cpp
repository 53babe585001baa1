#include "save_in_flight.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "digest.hpp"
#include "file_io.hpp"
#include "hone/core/error.hpp"
#include "rank_note.hpp"

namespace hone::checkpoints::detail {
namespace {

OtherFileEntry sync_and_digest(FileOps& files, const std::filesystem::path& folder,
                               const std::string& name) {
  File file = File::open(files, folder / name);
  file.sync();
  OtherFileEntry entry{name, file.size(), {}};
  Digest digest;
  const auto memory = std::make_unique_for_overwrite<std::byte[]>(kChunkBytes);
  for (std::int64_t offset = 0; offset < entry.bytes;) {
    const auto count = std::min<std::int64_t>(entry.bytes - offset, kChunkBytes);
    const std::span chunk{memory.get(), static_cast<std::size_t>(count)};
    file.read_at(chunk, offset);
    digest.update(chunk);
    offset += count;
  }
  entry.digest = digest.finish();
  file.close();
  return entry;
}

/// Syncs all files below folder/`below` that hone did not write itself, and lists them.
void collect_other_files(FileOps& files, const std::filesystem::path& folder,
                         const std::filesystem::path& below, const std::set<std::string>& own,
                         std::vector<OtherFileEntry>& entries) {
  for (const auto& entry : list_directory(files, folder / below)) {
    const auto name = (below / entry.name).string();
    if (own.contains(name)) continue;
    if (entry.kind == EntryKind::Directory) {
      collect_other_files(files, folder, name, own, entries);
    } else if (entry.kind == EntryKind::File) {
      entries.push_back(sync_and_digest(files, folder, name));
    } else {
      throw CheckpointError{(folder / name).string() + " is neither a file nor a folder: a checkpoint "
                            "must not depend on what is outside of it", ExitCode::Internal};
    }
  }
  if (!below.empty()) sync_directory(files, folder / below);
}

/// Syncs what lies beside the ranks' files, and writes the manifest last.
void seal(FileOps& files, const std::filesystem::path& folder, Manifest& manifest) {
  std::set<std::string> own;
  for (const auto& entry : manifest.rank_files) own.insert(entry.file);
  collect_other_files(files, folder, {}, own, manifest.other_files);
  write_new_file(files, folder / kManifestName, write_manifest(manifest));
  sync_directory(files, folder);
}

}  // namespace

SaveInFlight::SaveInFlight(FileOps& files, SavePlan plan, Publish publish)
    : files_(files),
      plan_(std::move(plan)),
      publish_(std::move(publish)),
      writer_([this] { run(); }) {}

SaveInFlight::~SaveInFlight() {
  end_alone();
  writer_.join();
}

void SaveInFlight::give_up() { wait_no_longer_than(Clock::now()); }

void SaveInFlight::expect_notes() { wait_no_longer_than(Clock::now() + kVisible); }

std::string SaveInFlight::end_alone() {
  try {
    wait_for_share();
    wait_no_longer_than(Clock::now() + kPatience);
    wait_for_end();
    return {};
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "its writer was ended";
  }
}

void SaveInFlight::wait_no_longer_than(Clock::time_point until) {
  const std::lock_guard lock{mutex_};
  until_ = std::min(until_, until);
  changed_.notify_all();
}

bool SaveInFlight::is_settled() const {
  const std::lock_guard lock{mutex_};
  return stage_ == Stage::Ended && (plan_.rank == 0 || failure_ != nullptr);
}

void SaveInFlight::wait_for_share() { wait_for(Stage::ShareWritten); }

void SaveInFlight::wait_for_end() { wait_for(Stage::Ended); }

void SaveInFlight::run() {
  try {
    const auto name = rank_file_name(plan_.rank, plan_.num_ranks);
    auto mine = write_rank_file(files_, plan_.folder, name, plan_.share);
    if (plan_.rank != 0) leave_note(files_, plan_.folder, plan_.rank, plan_.num_ranks, mine);
    enter(Stage::ShareWritten);
    if (plan_.rank == 0) {
      auto manifest = gathered(std::move(mine));
      seal(files_, plan_.folder, manifest);
      publish_(plan_, manifest);
    }
    enter(Stage::Ended);
  } catch (...) {
    enter(Stage::Ended, std::current_exception());
  }
}

void SaveInFlight::enter(Stage stage, std::exception_ptr failure) {
  {
    const std::lock_guard lock{mutex_};
    stage_ = stage;
    failure_ = std::move(failure);
  }
  changed_.notify_all();
}

void SaveInFlight::wait_for(Stage stage) {
  std::unique_lock lock{mutex_};
  changed_.wait(lock, [&] { return stage_ >= stage; });
  if (failure_) std::rethrow_exception(failure_);
}

/// Waits for all ranks' shares.
Manifest SaveInFlight::gathered(RankContribution mine) {
  Manifest manifest;
  manifest.hone_version = HONE_VERSION;
  manifest.step = plan_.step;
  manifest.run = plan_.epoch.run;
  manifest.epoch = plan_.epoch.number;
  manifest.parent = plan_.epoch.parent;
  manifest.world_size = plan_.num_ranks;
  manifest.state_json = plan_.state_json;
  for (int rank = 0; rank < plan_.num_ranks; ++rank) {
    auto theirs = rank == 0 ? std::move(mine) : contribution_of(rank);
    manifest.rank_files.push_back(std::move(theirs.file));
    std::ranges::move(theirs.tensors, std::back_inserter(manifest.tensors));
  }
  require_whole_tensors(manifest);
  return manifest;
}

/// Looked for ever less often: the disk has other things to do.
RankContribution SaveInFlight::contribution_of(int rank) {
  constexpr std::chrono::milliseconds kLongest{100};
  for (std::chrono::milliseconds pause{1};; pause = std::min(2 * pause, kLongest)) {
    if (auto note = take_note(files_, plan_.folder, rank, plan_.num_ranks)) return *std::move(note);
    std::unique_lock lock{mutex_};
    const auto is_over = [&] { return Clock::now() >= until_; };
    if (changed_.wait_for(lock, pause, is_over)) {
      throw CheckpointError{"rank " + std::to_string(rank) + " has not written its share",
                            ExitCode::Io};
    }
  }
}

}  // namespace hone::checkpoints::detail

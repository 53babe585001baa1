#include "lineage.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <utility>

#include "epochs.hpp"
#include "hone/core/error.hpp"
#include "run_directory.hpp"
#include "verify.hpp"

namespace hone::checkpoints::detail {
namespace {

std::optional<Origin> origin_of(FileOps& files, const std::filesystem::path& checkpoint) {
  try {
    const auto manifest = read_manifest(files, checkpoint);
    return Origin{manifest.epoch, manifest.step, manifest.run};
  } catch (const CheckpointError&) {
    return std::nullopt;
  }
}

bool is_of(const Origin& checkpoint, const Epoch& epoch) {
  return checkpoint.epoch == epoch.number && checkpoint.run == epoch.run;
}

/// Both may be from before runs had names.
bool may_be_one_run(const std::string& left, const std::string& right) {
  return left.empty() || right.empty() || left == right;
}

/// What there is of the run, as its epochs tell.
class Lineage {
 public:
  /// `present`: of the checkpoints that there are.
  Lineage(FileOps& files, const std::filesystem::path& run_directory,
          std::span<const Origin> present)
      : files_(files), run_directory_(run_directory) {
    if (present.empty()) return;
    const auto numbers = epoch_numbers(files, run_directory);
    numbers_.insert(numbers.begin(), numbers.end());
    if (!numbers.empty()) read(numbers.back());
    for (const auto& checkpoint : present) read(checkpoint.epoch);
    auto newest = newest_of(present);
    if (newest.epoch == 0) return;
    newest.step = std::numeric_limits<std::int64_t>::max();
    follow(std::move(newest));
  }

  std::optional<std::string> reason_to_pass_over(const Origin& checkpoint) const {
    if (is_of_another_run(checkpoint)) return "it is of another run";
    const bool has = std::ranges::any_of(ends_, [&](const Origin& end) {
      return end.epoch == checkpoint.epoch && checkpoint.step <= end.step &&
             may_be_one_run(end.run, checkpoint.run);
    });
    if (has || ends_.empty()) return std::nullopt;
    return "it is of epoch " + std::to_string(checkpoint.epoch) +
           " of this run, which has gone on from before it";
  }

 private:
  /// Once each, and none that nothing leads to: a long run has begun many.
  void read(std::int64_t number) {
    if (numbers_.erase(number) == 0) return;
    auto epoch = read_epoch(files_, run_directory_, number);
    if (!epoch) return;
    for (const auto& run : {epoch->run, epoch->parent.value_or(Origin{}).run}) {
      if (!run.empty()) runs_.insert(run);
    }
    epochs_.emplace(number, *std::move(epoch));
  }

  bool is_of_another_run(const Origin& checkpoint) const {
    return !runs_.empty() && !checkpoint.run.empty() && !runs_.contains(checkpoint.run);
  }

  /// The newest epoch that has a checkpoint, in its `epoch` and `run`; epoch 0: none has.
  Origin newest_of(std::span<const Origin> present) const {
    Origin newest;
    for (const auto& checkpoint : present) {
      const auto epoch = epochs_.find(checkpoint.epoch);
      const bool is_its = epoch != epochs_.end() && epoch->second.run == checkpoint.run;
      if (is_its && checkpoint.epoch > newest.epoch) newest = checkpoint;
    }
    const bool is_known = newest.epoch > 0;
    for (const auto& checkpoint : present) {  // of an epoch whose file is not there
      const bool may_be = is_known ? checkpoint.run == newest.run : !is_of_another_run(checkpoint);
      if (may_be && checkpoint.epoch > newest.epoch) newest = checkpoint;
    }
    return newest;
  }

  /// The way back from `end`: ancestors are older.
  void follow(Origin end) {
    for (;;) {
      read(end.epoch);
      const auto epoch = epochs_.find(end.epoch);
      const bool is_here = epoch != epochs_.end() && may_be_one_run(epoch->second.run, end.run);
      ends_.push_back(end);
      if (!is_here || !epoch->second.parent || epoch->second.parent->epoch >= end.epoch) return;
      end = *epoch->second.parent;
    }
  }

  FileOps& files_;
  const std::filesystem::path& run_directory_;
  std::set<std::int64_t> numbers_;  ///< of epochs that are not read
  std::map<std::int64_t, Epoch> epochs_;
  std::set<std::string> runs_;  ///< that these are of, or began from
  std::vector<Origin> ends_;    ///< of each epoch on the way back the last step that counts
};

}  // namespace

bool is_own(FileOps& files, const std::filesystem::path& checkpoint, const Epoch& epoch) {
  const auto origin = origin_of(files, checkpoint);
  if (!origin) return false;
  return origin == epoch.parent || is_of(*origin, epoch);
}

bool is_written_in(FileOps& files, const std::filesystem::path& checkpoint, const Epoch& epoch) {
  const auto origin = origin_of(files, checkpoint);
  return origin && is_of(*origin, epoch);
}

std::vector<TracedCheckpoint> trace_checkpoints(FileOps& files,
                                                const std::filesystem::path& run_directory) {
  std::vector<TracedCheckpoint> traced;
  std::vector<Origin> present;
  for (const auto& found : find_checkpoints(files, run_directory)) {
    traced.push_back({found.path, origin_of(files, found.path)});
    if (traced.back().origin) present.push_back(*traced.back().origin);
  }
  const Lineage lineage{files, run_directory, present};
  for (auto& checkpoint : traced) {
    if (checkpoint.origin) checkpoint.passed_over = lineage.reason_to_pass_over(*checkpoint.origin);
  }
  return traced;
}

}  // namespace hone::checkpoints::detail

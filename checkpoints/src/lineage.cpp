#include "lineage.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>

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

/// What there is of the run, as its epochs tell.
class Lineage {
 public:
  /// `present`: of the checkpoints that there are.
  Lineage(FileOps& files, const std::filesystem::path& run_directory,
          std::span<const Origin> present) {
    const auto numbers = epoch_numbers(files, run_directory);
    run_ = run_of(files, run_directory, numbers, present);
    std::int64_t newest = 0;
    for (const auto& checkpoint : present) {
      if (!is_of_another_run(checkpoint)) newest = std::max(newest, checkpoint.epoch);
    }
    if (newest == 0) return;
    ends_.push_back({newest, std::numeric_limits<std::int64_t>::max()});
    for (auto at = newest; std::ranges::binary_search(numbers, at);) {
      const auto epoch = read_epoch(files, run_directory, at);
      if (!epoch || !epoch->parent || epoch->parent->epoch >= at) break;  // ancestors are older
      ends_.push_back(*epoch->parent);
      at = epoch->parent->epoch;
    }
  }

  std::optional<std::string> reason_to_pass_over(const Origin& checkpoint) const {
    if (is_of_another_run(checkpoint)) return "it is of another run";
    const bool has = std::ranges::any_of(ends_, [&](const Origin& end) {
      return end.epoch == checkpoint.epoch && checkpoint.step <= end.step;
    });
    if (has || ends_.empty()) return std::nullopt;
    return "it is of epoch " + std::to_string(checkpoint.epoch) +
           " of this run, which has gone on from before it";
  }

 private:
  /// The run of the newest epoch that one of them is of; none where there is no such.
  static std::optional<std::string> run_of(FileOps& files,
                                           const std::filesystem::path& run_directory,
                                           const std::vector<std::int64_t>& numbers,
                                           std::span<const Origin> present) {
    for (auto number = numbers.rbegin(); number != numbers.rend(); ++number) {
      const auto is_of_it = [&](const Origin& checkpoint) { return checkpoint.epoch == *number; };
      if (std::ranges::none_of(present, is_of_it)) continue;
      const auto epoch = read_epoch(files, run_directory, *number);
      const auto is_of_its_run = [&](const Origin& checkpoint) {
        return is_of_it(checkpoint) && checkpoint.run == epoch->run;
      };
      if (epoch && std::ranges::any_of(present, is_of_its_run)) return epoch->run;
    }
    return std::nullopt;
  }

  /// What was written before runs had names may be of any.
  bool is_of_another_run(const Origin& checkpoint) const {
    return run_ && !checkpoint.run.empty() && checkpoint.run != *run_;
  }

  std::optional<std::string> run_;
  std::vector<Origin> ends_;  ///< of each epoch on the way back the last step that counts
};

}  // namespace

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

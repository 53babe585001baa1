#include "hone/checkpoints/hdf5_checkpoint_store.hpp"

#include <algorithm>
#include <cstdio>
#include <set>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "agreed.hpp"
#include "epochs.hpp"
#include "file_io.hpp"
#include "lineage.hpp"
#include "load.hpp"
#include "run_directory.hpp"
#include "save_in_flight.hpp"
#include "save_plan.hpp"
#include "snapshot_buffer.hpp"
#include "verify.hpp"

namespace hone::checkpoints {
namespace {

using detail::agreed;

/// "114 tensors, 39.5 MB": of all ranks.
std::string extent_of(const detail::Manifest& manifest) {
  std::set<std::string_view> names;
  std::int64_t bytes = 0;
  for (const auto& tensor : manifest.tensors) {
    names.insert(tensor.name);
    bytes += tensor.bytes;
  }
  char text[80];
  std::snprintf(text, sizeof text, "%zu tensors, %.1f MB", names.size(),
                static_cast<double>(bytes) / 1e6);
  return text;
}

CheckpointError failed_save(const std::filesystem::path& run_directory, std::int64_t step,
                            const CheckpointError& error) {
  std::string advice;
  if (error.exit_code() == ExitCode::RunHeld) {
    advice = " Free some space (a lower save_total_limit keeps fewer), then run again to resume.";
  }
  return CheckpointError{"saving " + detail::checkpoint_name(step) + " in " +
                             run_directory.string() + " failed: " + error.what() +
                             ". The checkpoints that were there are untouched." + advice,
                         error.exit_code()};
}

/// Lets the caller add its files. What its streams and copies throw becomes an error of ours.
void add_files(const CheckpointContent& content, const std::filesystem::path& folder) {
  if (!content.add_files) return;
  try {
    content.add_files(folder);
  } catch (const std::system_error& error) {
    throw detail::file_error(std::string{"add files ("} + error.what() + ") to", folder,
                             error.code().value());
  }
}

}  // namespace

Hdf5CheckpointStore::Hdf5CheckpointStore(Communicator& communicator, Logger& logger,
                                         StoreOptions options, FileOps* files)
    : communicator_(communicator),
      logger_(logger),
      options_(std::move(options)),
      files_(files != nullptr ? *files : real_file_ops()),
      snapshot_(std::make_unique<detail::SnapshotBuffer>()) {
  if (options_.save_total_limit.value_or(1) < 1) {
    throw ConfigError{"save_total_limit is " + std::to_string(*options_.save_total_limit) +
                      ": at least 1 checkpoint has to stay; leave it out (null) to keep all"};
  }
  if (options_.save_keep_steps.value_or(1) < 1) {
    throw ConfigError{"save_keep_steps is " + std::to_string(*options_.save_keep_steps) +
                      ": it counts updates; leave it out (null) to keep the newest alone"};
  }
}

Hdf5CheckpointStore::~Hdf5CheckpointStore() {
  if (!in_flight_) return;
  const auto failure = in_flight_->end_alone();
  if (failure.empty()) return;
  logger_.warning(failed_save(options_.run_directory, in_flight_->plan().step,
                              CheckpointError{failure, ExitCode::Io})
                      .what());
}

std::filesystem::path Hdf5CheckpointStore::save(const CheckpointContent& content) {
  begin(content, Source::Callers);
  return finish_save();
}

void Hdf5CheckpointStore::require_room(std::span<const TensorBytes> tensors) {
  detail::require_room(communicator_, tensors);
}

void Hdf5CheckpointStore::prepare_saves(std::span<const TensorBytes> tensors) {
  if (in_flight_) return;  // it is being written from
  snapshot_->reserve(detail::share_of(tensors, communicator_.rank(), communicator_.size()));
}

void Hdf5CheckpointStore::start_save(const CheckpointContent& content) {
  begin(content, Source::Copies);
}

bool Hdf5CheckpointStore::save_is_settled() const { return in_flight_ && in_flight_->is_settled(); }

void Hdf5CheckpointStore::begin(const CheckpointContent& content, Source source) {
  settle_stray_save();
  save_began_ = std::chrono::steady_clock::now();
  try {
    launch(content, source);
  } catch (const CommunicatorError&) {
    abandon_save();
    throw;
  } catch (const CheckpointError& error) {
    void_save();
    throw failed_save(options_.run_directory, content.step, error);
  }
}

/// What a caller that an error has thrown out of its work has left behind. On every rank alike.
void Hdf5CheckpointStore::settle_stray_save() {
  if (!in_flight_) return;
  try {
    finish_save();
  } catch (const CheckpointError& error) {
    if (communicator_.rank() == 0) logger_.warning(error.what());
  }
}

void Hdf5CheckpointStore::launch(const CheckpointContent& content, Source source) {
  detail::require_agreed_content(communicator_, content);
  detail::require_room(communicator_, content.tensors);
  const int rank = communicator_.rank();
  detail::SavePlan plan{.folder = {},
                        .nonce = {},
                        .rank = rank,
                        .num_ranks = communicator_.size(),
                        .step = content.step,
                        .epoch = {},
                        .state_json = content.state_json,
                        .best_step = content.best_step,
                        .share = {}};
  agreed(communicator_, [&] {
    if (rank != 0) return;
    if (!epoch_) begin_epoch(presumed_parent(content.step));
    detail::require_newest(files_, options_.run_directory, *epoch_);
    plan.epoch = *epoch_;
    plan.nonce = detail::make_nonce();
    detail::remove_leftovers(files_, options_.run_directory, logger_);
    plan.folder =
        detail::make_temporary(files_, options_.run_directory, content.step, plan.nonce);
    add_files(content, plan.folder);
  });
  plan.folder = broadcast_string(communicator_, plan.folder.string());
  agreed(communicator_, [&] {
    plan.share = detail::share_of(content.tensors, rank, plan.num_ranks);
    const bool on_device = std::ranges::any_of(plan.share, [](const auto& tensor) { return bool{tensor.fetch}; });
    if (source == Source::Copies || on_device) plan.share = snapshot_->copy(plan.share);
    in_flight_ = std::make_unique<detail::SaveInFlight>(
        files_, std::move(plan), [this](const detail::SavePlan& sealed, const detail::Manifest& manifest) {
          publish(sealed, manifest);
        });
  });
}

std::filesystem::path Hdf5CheckpointStore::finish_save() {
  const auto step = in_flight_->plan().step;
  try {
    // First the shares: where one of them failed, rank 0 would wait for it.
    agreed(communicator_, [&] { in_flight_->wait_for_share(); });
    in_flight_->expect_notes();
    agreed(communicator_, [&] { in_flight_->wait_for_end(); });
    in_flight_.reset();
  } catch (const CommunicatorError&) {
    abandon_save();
    throw;
  } catch (const CheckpointError& error) {
    void_save();
    throw failed_save(options_.run_directory, step, error);
  }
  return options_.run_directory / detail::checkpoint_name(step);
}

/// The shares of lost peers will not come.
void Hdf5CheckpointStore::abandon_save() {
  if (in_flight_) in_flight_->give_up();
  in_flight_.reset();
}

/// On every rank alike.
void Hdf5CheckpointStore::void_save() {
  abandon_save();
  communicator_.barrier();  // now nobody writes there any more
  if (communicator_.rank() == 0 && is_owner()) {
    detail::remove_leftovers(files_, options_.run_directory, logger_);
  }
}

/// Rank 0's view. What another owner is about to write is not this one's to clear away.
bool Hdf5CheckpointStore::is_owner() {
  try {
    if (epoch_) detail::require_newest(files_, options_.run_directory, *epoch_);
    return epoch_ != nullptr;
  } catch (const CheckpointError&) {
    return false;
  }
}

/// On rank 0's writer.
void Hdf5CheckpointStore::publish(const detail::SavePlan& plan, const detail::Manifest& manifest) {
  detail::require_newest(files_, options_.run_directory, plan.epoch);
  for (const auto& entry : manifest.rank_files) {  // nobody has cleared them away
    auto file = detail::File::open(files_, plan.folder / entry.file);
    const auto bytes = file.size();
    file.close();
    if (bytes == entry.bytes) continue;
    throw CheckpointError{entry.file + " is not as long as it was written", ExitCode::Io};
  }
  sync_log();
  // What is in its place and not the run's own is refused, or of another branch, run or version.
  const auto place = options_.run_directory / detail::checkpoint_name(plan.step);
  const auto former = detail::is_own(files_, place, plan.epoch) ? detail::Former::IsDeleted
                                                                : detail::Former::IsSetAside;
  const auto path = detail::publish(files_, options_.run_directory, plan.folder, plan.step,
                                    plan.nonce, former);
  refused_.erase(path);
  good_.insert(path);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - save_began_;
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, " in %.2f s", elapsed.count());
  logger_.info("saved " + path.filename().string() + ": " + extent_of(manifest) + seconds);
  if (is_owner()) retain(path, plan.best_step);
}

/// Records of training are no reason to go without a checkpoint.
void Hdf5CheckpointStore::sync_log() {
  const auto path = options_.run_directory / options_.log_file;
  std::error_code none;
  if (options_.log_file.empty() || !std::filesystem::exists(path, none)) return;
  try {
    auto file = detail::File::open(files_, path);
    file.sync();
    file.close();
  } catch (const CheckpointError& error) {
    logger_.warning(std::string{"a power cut may take records that a resumed run does not write again: "} +
                    error.what());
  }
}

/// The new checkpoint is durable: whatever fails from here on is a warning.
void Hdf5CheckpointStore::retain(const std::filesystem::path& written,
                                 std::optional<std::int64_t> best_step) {
  collect_others_of_run_directory();
  set_left_ones_aside(written);
  if (options_.save_total_limit) {
    try {
      detail::trash_surplus(files_, options_.run_directory,
                            {.limit = *options_.save_total_limit,
                             .every = options_.save_keep_steps,
                             .best_step = best_step},
                            written, refused_, good_);
    } catch (const CheckpointError& error) {
      logger_.warning(std::string{"more checkpoints than save_total_limit stay: "} + error.what());
    }
  }
  detail::remove_leftovers(files_, options_.run_directory, logger_);
}

/// Why a checkpoint is not usable; none where `load` has loaded it and the rest is as it should be.
std::optional<std::string> Hdf5CheckpointStore::problem_of(const std::filesystem::path& checkpoint,
                                                           const Load& load) {
  try {
    load_whole(checkpoint, load);
    return std::nullopt;
  } catch (const CheckpointError& error) {  // on every rank alike
    const bool is_of_file = error.exit_code() == ExitCode::InvalidData ||
                            error.exit_code() == ExitCode::Io ||
                            error.exit_code() == ExitCode::MissingInput;
    if (has_misfit_ || !is_of_file) throw;
    return error.what();
  }
}

/// Throws where any byte is bad.
void Hdf5CheckpointStore::load_whole(const std::filesystem::path& checkpoint, const Load& load) {
  verified_.clear();
  has_misfit_ = false;
  const auto manifest = detail::read_manifest_everywhere(communicator_, files_, checkpoint);
  detail::require_plausible(communicator_, files_, checkpoint, manifest);
  load(checkpoint);
  const auto problem = detail::problem_of_rest(communicator_, files_, checkpoint, manifest, verified_);
  if (problem) throw CheckpointError{*problem};
  good_.insert(checkpoint);
}

void Hdf5CheckpointStore::load_verified(const std::filesystem::path& checkpoint, const Load& load) {
  settle_stray_save();
  try {
    load_whole(checkpoint, load);
  } catch (const CheckpointError& error) {
    if (has_misfit_ || error.exit_code() != ExitCode::InvalidData) throw;
    throw CheckpointError{checkpoint.string() + " is refused: " + error.what()};
  }
}

bool Hdf5CheckpointStore::load_newest(const Load& load) {
  settle_stray_save();
  loaded_.reset();
  const auto names = list_everywhere();
  std::string reasons;
  for (const auto& name : names) {
    const auto path = options_.run_directory / name;
    const auto problem = problem_of(path, load);
    if (!problem) {
      loaded_ = path;
      return true;
    }
    reasons += "\n  " + name + ": " + *problem;
    if (communicator_.rank() == 0) {
      refused_.insert(path);
      logger_.warning("refused " + path.string() + ": " + *problem);
    }
  }
  is_afresh_ = names.empty();
  if (is_afresh_) return false;
  throw CheckpointError{"no checkpoint in " + options_.run_directory.string() +
                        " is usable:" + reasons +
                        "\nMove them away to start from step 0, or restore one from a copy."};
}

void Hdf5CheckpointStore::go_on_from(const std::filesystem::path& checkpoint) {
  settle_stray_save();
  agreed(communicator_, [&] {
    left_.clear();
    if (communicator_.rank() != 0) return;
    const auto folder = std::filesystem::weakly_canonical(checkpoint / ".");
    const auto step = detail::step_of(folder.filename().string());
    std::error_code none;
    const bool is_own =
        std::filesystem::equivalent(folder.parent_path(), options_.run_directory, none);
    if (!step || !is_own) return;
    const auto manifest = detail::read_manifest(files_, folder);
    begin_epoch(detail::Origin{manifest.epoch, *step, manifest.run});
    for (const auto& found : detail::find_checkpoints(files_, options_.run_directory)) {
      if (found.step > *step) left_.push_back(found.path);
    }
  });
}

void Hdf5CheckpointStore::begin_epoch(const std::optional<detail::Origin>& parent) {
  epoch_ = std::make_unique<detail::Epoch>(
      detail::begin_epoch(files_, options_.run_directory, parent));
}

/// Who saves without having said what it goes on from, goes on from what it has loaded. If that is
/// nothing, from the newest; or from nothing, where that is as far as what it saves, or further.
std::optional<detail::Origin> Hdf5CheckpointStore::presumed_parent(std::int64_t step) {
  if (is_afresh_) return std::nullopt;
  for (const auto& found : detail::trace_checkpoints(files_, options_.run_directory)) {
    if (loaded_ && found.path != *loaded_) continue;
    if (loaded_) return found.origin;
    if (found.passed_over || !found.origin) continue;
    return found.origin->step < step ? found.origin : std::nullopt;
  }
  return std::nullopt;
}

/// What an owner that was replaced, or a branch that was left, has published since go_on_from(), or
/// somebody has copied here.
void Hdf5CheckpointStore::collect_others_of_run_directory() {
  try {
    for (auto& found : detail::trace_checkpoints(files_, options_.run_directory)) {
      if (found.passed_over && std::ranges::find(left_, found.path) == left_.end()) {
        left_.push_back(std::move(found.path));
      }
    }
  } catch (const CheckpointError& error) {
    logger_.warning(std::string{"checkpoints of other branches stay: "} + error.what());
  }
}

/// What a later version of hone has written stays; so does what this owner wrote, where it could not be said to
/// be durable.
void Hdf5CheckpointStore::set_left_ones_aside(const std::filesystem::path& written) {
  bool any = false;
  for (const auto& path : std::exchange(left_, {})) {
    try {
      if (path == written || detail::is_written_in(files_, path, *epoch_) ||
          detail::is_of_later_version(files_, path)) {
        continue;
      }
      const auto step = detail::step_of(path.filename().string());
      const auto aside = detail::set_aside(files_, {step.value(), path});
      refused_.erase(path);
      good_.erase(path);
      any = true;
      detail::warn_of_aside(logger_, path, aside);
    } catch (const CheckpointError& error) {
      logger_.warning(std::string{"a checkpoint that is not this run's stays: "} + error.what());
    }
  }
  if (!any) return;
  try {
    detail::sync_directory(files_, options_.run_directory);
  } catch (const CheckpointError& error) {
    logger_.warning(std::string{"a power cut may put back what was moved aside: "} + error.what());
  }
}

std::vector<std::string> Hdf5CheckpointStore::list_everywhere() {
  std::string joined;
  agreed(communicator_, [&] {
    if (communicator_.rank() != 0) return;
    detail::restore_replaced(files_, options_.run_directory);
    const auto traced = detail::trace_checkpoints(files_, options_.run_directory);
    for (const auto& found : traced) {
      if (!found.passed_over) {
        joined += found.path.filename().string() + '\n';
        continue;
      }
      if (!joined.empty()) continue;  // older than what is taken: nobody would miss it
      logger_.warning("passed over " + found.path.string() + ": " + *found.passed_over);
    }
    if (!joined.empty() || traced.empty()) return;
    throw CheckpointError{"all checkpoints in " + options_.run_directory.string() +
                          " are of another run. Go on from one: --resume_from_checkpoint FOLDER; from "
                          "step 0: move them away, or another output_dir"};
  });
  std::istringstream lines{broadcast_string(communicator_, joined)};
  std::vector<std::string> names;
  for (std::string name; std::getline(lines, name);) names.push_back(name);
  return names;
}

std::string Hdf5CheckpointStore::load_state(const std::filesystem::path& checkpoint) {
  return detail::read_manifest_everywhere(communicator_, files_, checkpoint).state_json;
}

void Hdf5CheckpointStore::load_tensors(const std::filesystem::path& checkpoint,
                                       std::span<const TensorBytes> tensors) {
  const auto manifest = detail::read_manifest_everywhere(communicator_, files_, checkpoint);
  has_misfit_ = true;
  agreed(communicator_, [&] { detail::require_fit(checkpoint, manifest, tensors); });
  has_misfit_ = false;
  agreed(communicator_,
         [&] { detail::read_tensors(files_, checkpoint, manifest, tensors, verified_); });
}

}  // namespace hone::checkpoints

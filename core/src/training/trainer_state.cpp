// A Trainer's state in and out of checkpoints.
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <iterator>
#include <utility>

#include "hone/core/error.hpp"
#include "hone/core/training/checkpoint_tensors.hpp"
#include "hone/core/training/trainer.hpp"
#include "training/parameter_digest.hpp"
#include "training/saved_state.hpp"
#include "training/now.hpp"

namespace hone {
namespace {

constexpr int kMostFailedSaves = 3;

/// Of the disk or the memory: another save may succeed.
bool may_pass(const CheckpointError& error) {
  return error.exit_code() == ExitCode::RunHeld || error.exit_code() == ExitCode::Io ||
         error.exit_code() == ExitCode::OutOfMemory;
}

/// What `function` throws; null where it returns.
template <typename Function>
std::exception_ptr caught(Function&& function) {
  try {
    function();
    return nullptr;
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace

std::vector<TensorBytes> Trainer::tensors(HostCopies* to_load) {
  auto all = model_tensors(parts_.model, to_load);
  auto state = optimizer_tensors(parts_.model, *optimizer_, to_load, is_sharded());
  std::ranges::move(state, std::back_inserter(all));
  return all;
}

std::filesystem::path Trainer::save() {
  settle_save();
  std::filesystem::path folder;
  hand_over([&](const CheckpointContent& content) { folder = parts_.checkpoints->save(content); });
  tell_of_save(state_, folder);
  return folder;
}

std::filesystem::path Trainer::save_at_end() {
  settle_save();
  try {
    return save();
  } catch (const CheckpointError& error) {
    if (!may_pass(error)) throw;
    if (parts_.communicator.rank() == 0) {
      parts_.log.warning(std::string{error.what()} + " It is tried once more");
    }
  }
  return save();
}

void Trainer::save_behind() {
  settle_save();
  try {
    if (!options_.async_save) {
      save();
      return;
    }
    hand_over([&](const CheckpointContent& content) { parts_.checkpoints->start_save(content); });
    saving_ = state_;
  } catch (const CheckpointError& error) {
    do_without(error);
  }
}

void Trainer::settle_save() {
  if (!saving_) return;
  const auto saved = *std::exchange(saving_, std::nullopt);
  const double began = detail::now_seconds();
  try {
    const auto folder = parts_.checkpoints->finish_save();
    save_seconds_ += detail::now_seconds() - began;
    tell_of_save(saved, folder);
  } catch (const CheckpointError& error) {
    do_without(error);
  }
}

/// Gives the store what a checkpoint of now holds. Whether it succeeds or not, what was asked for is
/// done: it is not tried again at every update.
void Trainer::hand_over(const std::function<void(const CheckpointContent&)>& take) {
  if (parts_.checkpoints == nullptr) {
    throw ConfigError{"save: the trainer was built without a checkpoint store"};
  }
  // Nobody saves what failed on one rank.
  agree_or_throw(parts_.communicator, std::exchange(failure_, {}));
  require_finite_parameters();
  save_began_at_ = detail::now_seconds();
  saves_obeyed_ = saves_agreed_;
  save_is_due_ = false;
  saved_step_ = -1;
  CheckpointContent content{.step = state_.global_step,
                            .tensors = {},
                            .state_json = detail::to_json({state_, optimizer_->num_steps(),
                                                           {options_.on_new_round,
                                                            options_.updates_per_step,
                                                            options_.shuffle_dataset}}),
                            .add_files = {},
                            .best_step = state_.best_metric ? std::optional{state_.best_saved_step}
                                                            : std::nullopt};
  run_agreed(parts_.communicator, [&] { content.tensors = tensors(); });
  if (!parts_.model_folder.empty()) {
    content.add_files = [&](const std::filesystem::path& folder) {
      copy_model_files(parts_.model, parts_.model_folder, folder);
    };
  }
  const auto failure = caught([&] { take(content); });
  saves_obeyed_at_ = detail::now_seconds();
  save_seconds_ = saves_obeyed_at_ - save_began_at_;
  if (failure) std::rethrow_exception(failure);
}

void Trainer::tell_of_save(const TrainerState& saved, const std::filesystem::path& folder) {
  failed_saves_ = 0;
  saved_step_ = saved.global_step;
  if (saved.best_step == saved.global_step) state_.best_saved_step = saved.global_step;
  tell_of(saved, &TrainerCallback::on_save, folder);
  agree_or_throw(parts_.communicator, std::exchange(failure_, {}));
}

/// Throws `error`, where it is not one of the first of the disk's or the memory's. On all ranks alike.
void Trainer::do_without(const CheckpointError& error) {
  if (!may_pass(error) || ++failed_saves_ >= kMostFailedSaves) throw CheckpointError{error};
  if (parts_.communicator.rank() != 0) return;
  parts_.log.warning(std::string{error.what()} + " Training goes on without it; it ends where " +
                     std::to_string(kMostFailedSaves) + " saves in a row fail");
}

/// Whether another save would now take more of the time than it may, or wait for the one before it:
/// rank 0's view.
bool Trainer::saves_should_wait() const {
  if (parts_.communicator.rank() != 0 || options_.save_max_overhead <= 0) return false;
  const double since = detail::now_seconds() - save_began_at_;
  const bool is_under_way = saving_ && !parts_.checkpoints->save_is_settled();
  return is_under_way || save_seconds_ > options_.save_max_overhead * since;
}

bool Trainer::save_time_is_up() const {
  return parts_.communicator.rank() == 0 && options_.save_minutes > 0 && !saves_should_wait() &&
         detail::now_seconds() - save_began_at_ >= 60.0 * options_.save_minutes;
}

bool Trainer::resume(const std::optional<std::filesystem::path>& checkpoint) {
  if (parts_.checkpoints == nullptr) {
    throw ConfigError{"resume: the trainer was built without a checkpoint store"};
  }
  settle_save();
  auto chosen = checkpoint;
  const auto load = [&](const std::filesystem::path& newest) {
    restore(newest);
    chosen = newest;
  };
  if (checkpoint) {
    parts_.checkpoints->load_verified(*checkpoint, load);
  } else if (!parts_.checkpoints->load_newest(load)) {
    return false;
  }
  parts_.checkpoints->go_on_from(*chosen);
  warn_of_another_model(*chosen);
  return true;
}

/// The weights are the checkpoint's, but what is computed with them is this run's model folder's.
void Trainer::warn_of_another_model(const std::filesystem::path& checkpoint) {
  run_agreed(parts_.communicator, [&] {
    if (parts_.communicator.rank() != 0 || parts_.model_folder.empty()) return;
    for (const auto& change : changed_model_files(parts_.model_folder, checkpoint)) {
      parts_.log.warning(parts_.model_folder.string() + " has changed since checkpoint-" +
                         std::to_string(state_.global_step) + ": " + change + ". The run no longer ends as the undisturbed one would");
    }
  });
}

void Trainer::restore(const std::filesystem::path& checkpoint) {
  auto [state, optimizer_steps, choices] = detail::parse_saved_state(parts_.checkpoints->load_state(checkpoint));
  const auto require_equal = [&](const std::string& name, const std::string& saved,
                                 const std::string& asked, const char* why) {
    if (saved == asked) return;
    throw ConfigError{checkpoint.string() + " was made with " + name + " " + saved +
                      ", this run asks for " + asked + ". " + why + ". Go on with --" + name + " " +
                      saved + ", or start a new run: another output_dir, nothing to resume from"};
  };
  const auto require_same = [&](const char* name, std::int64_t saved, std::int64_t asked) {
    require_equal(name, std::to_string(saved), std::to_string(asked),
                  "Samples and their order would not fit");
  };
  require_equal("on_new_round", choices.on_new_round, options_.on_new_round, "Its rounds would not fit");
  if (state.updates_in_call > 0) {
    constexpr const char* kWhy = "It was made in the midst of a call, whose other updates would not fit";
    require_equal("updates_per_step", choices.updates_per_step, options_.updates_per_step, kWhy);
    require_equal("shuffle_dataset", choices.shuffle_dataset ? "true" : "false",
                  options_.shuffle_dataset ? "true" : "false", kWhy);
  }
  require_same("seed", state.seed, options_.seed);
  if (options_.global_train_batch_size) {
    require_same("global_train_batch_size", state.global_train_batch_size,
                 *options_.global_train_batch_size);
  }
  if (options_.full_determinism) {
    require_equal("full_determinism", state.deterministic_threads > 0 ? "true" : "false", "true",
                  "Its sums were rounded otherwise");
    require_equal("num_threads", std::to_string(state.deterministic_threads),
                  std::to_string(state_.deterministic_threads),
                  "Under full_determinism sums on other threads would be rounded otherwise");
  }
  require_not_past_end(state.global_step);
  HostCopies copies;
  parts_.checkpoints->load_tensors(checkpoint, tensors(&copies));
  copies.copy_back();
  parts_.model.parameters().round_masters();
  optimizer_->set_num_steps(optimizer_steps);
  if (state.best_step == state.global_step) state.best_saved_step = state.global_step;
  state.deterministic_threads = state_.deterministic_threads;  // of this run, as it goes on
  state_ = std::move(state);
  detail::require_equal_parameters(parts_.communicator, parts_.model.parameters());
}

/// An update of finite gradients may still be too large: what it leaves is never taken for a model.
void Trainer::require_finite_parameters() const {
  const auto& parameters = parts_.model.parameters();
  for (std::size_t i = 0; i < parameters.all().size(); ++i) {
    if (at::isfinite(at::linalg_vector_norm(parameters.trained(i).detach(), INFINITY)).item<bool>()) continue;
    throw DivergedError{"after update " + std::to_string(state_.global_step) + " the weights of " +
                        parameters.all()[i].name + " are not finite, so they are not saved. Lower "
                        "learning_rate and go on from the last checkpoint, or start anew"};
  }
}

void Trainer::save_model(const std::filesystem::path& folder) {
  require_finite_parameters();
  run_agreed(parts_.communicator, [&] {
    if (parts_.communicator.rank() == 0) {
      hone::save_model(parts_.model, parts_.model_folder, folder);
    }
  });
}

}  // namespace hone

#include "hone/launcher/training_job.hpp"

#include <set>

#include "hone/core/error.hpp"
#include "hone/core/hf/hf_tokenizer.hpp"
#include "hone/core/model/layers.hpp"
#include "hone/core/options/changed_options.hpp"
#include "job/session_parts.hpp"

namespace hone::launcher {
namespace {

/// False for what says only where a run ends, how it is watched or what it runs on. Where it ends
/// matters to a schedule that goes down to there.
bool changes_the_outcome(const std::string& option, bool schedule_has_end) {
  static const std::set<std::string> kFree = {
      "resume_from_checkpoint", "output_dir", "keep_best_model", "num_rounds", "num_threads",
      "bind_threads", "ddp_backend", "use_cpu", "replica_check_steps", "train.replica_check_steps",
      "optimizer_sharding", "train.optimizer_sharding", "async_save", "train.async_save",
      "watchdog", "ddp_timeout", "control_interface", "logging_steps", "eval_file", "eval_steps",
      "reward.timeout", "per_device_eval_batch_size", "train.per_device_eval_batch_size"};
  static const std::set<std::string> kEnds = {"max_steps", "train.max_steps", "num_train_epochs"};
  if (kFree.contains(option) || option.starts_with("eval.")) return false;
  if (option.starts_with("save.") || option.starts_with("save_")) return false;
  return schedule_has_end || !kEnds.contains(option);
}

std::string how_to_keep(const ChangedOption& change) {
  const auto flag = as_flag(change.name, change.before);
  return flag.empty() ? "" : ". To keep it: " + flag;
}

}  // namespace

LoadedModel load_for_session(Session& session, const std::filesystem::path& folder,
                             const LoadOptions& options) {
  const auto library = choose_products(session);
  LoadedModel loaded{.folder = folder};
  run_agreed(session.communicator(), [&] {
    auto here = options;
    here.device = torch_device(session);
    loaded.model = load_model(folder, here);
    loaded.tokenizer = load_tokenizer(folder);
    const auto ids = loaded.tokenizer->vocab_size(), rows = loaded.model->shape().vocab_size;
    if (ids > rows) {
      throw InputError{folder.string() + ": tokenizer.json has " + std::to_string(ids) +
                       " ids, the model's vocabulary " + std::to_string(rows) +
                       ". They do not belong together"};
    }
  });
  const auto& shape = loaded.model->shape();
  const bool is_widened = options.dtype == at::kBFloat16 && torch_device(session).is_cpu() &&
                          !multiplies_bfloat16();
  session.log().info("model " + folder.string() + ": " + shape.model_type + ", " +
                     std::to_string(loaded.model->parameters().num_elements()) +
                     " parameters, " + c10::toString(options.dtype) + ", products by " + library +
                     (is_widened ? " in float32, as this CPU has no AVX-512" : ""));
  return loaded;
}

TrainingJob::TrainingJob(Session& session, LoadedModel loaded, TrainerOptions options,
                         checkpoints::StoreOptions store, std::vector<EvalSet> eval_sets)
    : session_(session),
      loaded_(std::move(loaded)),
      reducer_(make_reducer(session, options)) {
  const bool has_directory = !store.run_directory.empty();
  const auto best_model_folder = has_directory ? store.run_directory / "best" : "";
  if (has_directory) store_.emplace(session.communicator(), session.log(), std::move(store));
  TrainerParts parts{.model = *loaded_.model,
                     .communicator = session.communicator(),
                     .reducer = *reducer_,
                     .collator = collator_,
                     .log = session.log(),
                     .tokenizer = loaded_.tokenizer.get(),
                     .checkpoints = store_ ? &*store_ : nullptr,
                     .stop_signal = session.stop_signal(),
                     .activity = &session.activity(),
                     .optimizer = nullptr,
                     .model_folder = loaded_.folder,
                     .eval_sets = std::move(eval_sets),
                     .best_model_folder = best_model_folder};
  trainer_ = std::make_unique<Trainer>(std::move(parts), std::move(options));
}

bool TrainingJob::resume(const ResumeOptions& options) {
  if (!options.wanted()) return false;
  const auto& asked = options.resume_from_checkpoint;
  const bool any = asked == "auto" || asked == "true";
  const bool found = any ? trainer_->resume() : trainer_->resume(std::filesystem::path{asked});
  if (!found && asked == "auto") {
    session_.log().info("output_dir holds no checkpoint yet: a fresh start");
  }
  if (!found && asked == "true") {
    throw CheckpointError{"resume_from_checkpoint true: output_dir holds no checkpoint. Use auto to "
                          "start where there is none",
                          ExitCode::MissingInput};
  }
  if (found) {
    session_.log().info("going on from step " + std::to_string(trainer_->state().global_step));
    session_.note_step(trainer_->state().global_step);
  }
  return found;
}

void TrainingJob::record_options(RunDirectory& directory, const std::string& resolved_yaml,
                                 bool resumed) {
  const auto before = directory.read_config();
  if (resumed && !before.empty()) {
    for (const auto& change : changed_options(before, resolved_yaml)) {
      if (!changes_the_outcome(change.name, trainer_->schedule().has_end())) continue;
      // Left out, the size of updates stays what it was.
      if (change.name.ends_with("global_train_batch_size") && change.after == "null") continue;
      session_.log().warning(change.name + " was " + change.before +
                             " when the run was last started and is " + change.after +
                             " now: it no longer ends as the undisturbed run would" +
                             how_to_keep(change));
    }
  }
  directory.write_config(resolved_yaml);
}

}  // namespace hone::launcher

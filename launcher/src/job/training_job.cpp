#include "hone/launcher/training_job.hpp"

#include <set>

#include "hone/core/error.hpp"
#include "hone/core/hf/hf_tokenizer.hpp"
#include "hone/core/options/changed_options.hpp"
#include "job/torch_settings.hpp"

namespace hone::launcher {

LoadedModel load_for_session(Session& session, const std::filesystem::path& folder) {
  const auto library = choose_matmul_library(session.communicator());
  LoadedModel loaded{.folder = folder};
  run_agreed(session.communicator(), [&] {
    loaded.model = load_model(folder);
    loaded.tokenizer = load_tokenizer(folder);
    const auto ids = loaded.tokenizer->vocab_size(), rows = loaded.model->shape().vocab_size;
    if (ids > rows) {
      throw InputError{folder.string() + ": tokenizer.json has " + std::to_string(ids) +
                       " ids, the model's vocabulary " + std::to_string(rows) +
                       ". They do not belong together"};
    }
  });
  const auto& shape = loaded.model->shape();
  session.log().info("model " + folder.string() + ": " + shape.model_type + ", " +
                     std::to_string(loaded.model->parameters().num_elements()) +
                     " parameters, float32, products by " + library);
  for (const auto& note : loaded.model->notes()) session.log().warning(note);
  return loaded;
}

TrainingJob::TrainingJob(Session& session, LoadedModel loaded, TrainerOptions options,
                         checkpoints::StoreOptions store)
    : session_(session),
      loaded_(std::move(loaded)),
      reducer_(session.communicator()),
      store_(session.communicator(), session.log(), std::move(store)) {
  TrainerParts parts{.model = *loaded_.model,
                     .communicator = session.communicator(),
                     .reducer = reducer_,
                     .collator = collator_,
                     .log = session.log(),
                     .tokenizer = loaded_.tokenizer.get(),
                     .checkpoints = &store_,
                     .stop_signal = &session.stop_signal(),
                     .optimizer = nullptr,
                     .model_folder = loaded_.folder};
  trainer_ = std::make_unique<Trainer>(std::move(parts), std::move(options));
}

bool TrainingJob::resume(const ResumeOptions& options) {
  if (!options.wanted()) return false;
  const auto& asked = options.resume_from_checkpoint;
  const bool any = asked == "auto" || asked == "true";
  const bool found = any ? trainer_->resume() : trainer_->resume(std::filesystem::path{asked});
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
  // These say where a run ends and how it was started, not what it does.
  static const std::set<std::string> kFreeToChange = {
      "resume_from_checkpoint", "output_dir", "num_rounds", "num_threads", "ddp_backend", "use_cpu",
      "max_steps", "train.max_steps", "num_train_epochs", "logging_steps", "save_total_limit",
      "save.total_limit"};
  const auto before = directory.read_config();
  if (resumed && !before.empty()) {
    for (const auto& change : changed_options(before, resolved_yaml)) {
      if (kFreeToChange.contains(change.name)) continue;
      session_.log().warning("the run began with " + change.name + ": " + change.before +
                             " and goes on with " + change.after +
                             "; it no longer ends as the undisturbed run would");
    }
  }
  directory.write_config(resolved_yaml);
}

}  // namespace hone::launcher

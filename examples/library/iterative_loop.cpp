// Teaches a model to be brief: of each prompt's completions the shortest is kept and trained.
//
//   mpirun --bind-to none -np 2 iterative_loop MODEL_FOLDER OUTPUT_FOLDER
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "hone/launcher/run_in_session.hpp"
#include "hone/launcher/training_job.hpp"

using namespace hone;

const std::vector<std::string> kPrompts{"What is a river?", "What is a bridge?", "What is a cloud?",
                                        "What is a letter?"};

/// A prompt's completions are all on one rank, so every rank can choose alone.
Batch shortest_of_each(const std::vector<Completion>& drafts) {
  std::map<std::int64_t, const Completion*> chosen;
  for (const Completion& draft : drafts) {
    const Completion*& best = chosen[draft.prompt_index];
    if (best == nullptr || draft.ids.size() < best->ids.size()) best = &draft;
  }
  Batch batch{.scope = BatchScope::PerRank};  // each rank brings its own samples, or none
  for (const auto& [prompt, draft] : chosen) {
    batch.texts.push_back(kPrompts[static_cast<std::size_t>(prompt)] + draft->text);
    batch.order.push_back(prompt);  // the same update, whoever holds which sample
  }
  return batch;
}

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: iterative_loop MODEL_FOLDER OUTPUT_FOLDER\n";
    return static_cast<int>(ExitCode::Usage);
  }
  const std::filesystem::path model = argv[1], output_dir = argv[2];
  return launcher::run_in_session({.output_dir = output_dir}, [&](launcher::Session& session) {
    launcher::TrainingJob job{
        session, launcher::load_for_session(session, model),
        {.append_eos = true,
         .updates_per_step = "one",
         .learning_rate = 1e-5,
         .max_steps = 10,
         .save_steps = 5},
        {.run_directory = output_dir, .save_total_limit = 2}};
    Trainer& trainer = job.trainer();
    job.resume({.resume_from_checkpoint = "auto"});  // the newest checkpoint, or a fresh start
    while (!trainer.done()) {
      const auto drafts =
          trainer.generate(kPrompts, {.num_return_sequences = 4, .max_new_tokens = 24});
      const StepStats stats = trainer.step(shortest_of_each(drafts));
      session.log().info(stats.summary());  // rank 0 shows it, every rank logs it
    }
    if (trainer.stopped()) return ExitCode::Stopped;  // by a signal; everything is saved
    trainer.save_model(output_dir);                   // a Hugging Face folder
    return ExitCode::Success;
  });
}

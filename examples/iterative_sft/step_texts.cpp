// TRL's IterativeSFTTrainer, its example with texts: between two steps you do what you like with them.
//
//   mpirun --bind-to none -np 2 step_texts MODEL_FOLDER OUTPUT_FOLDER
#include <iostream>
#include <string>
#include <vector>

#include "hone/launcher/run_in_session.hpp"
#include "hone/launcher/training_job.hpp"

using namespace hone;

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: step_texts MODEL_FOLDER OUTPUT_FOLDER\n";
    return static_cast<int>(ExitCode::Usage);
  }
  const std::filesystem::path model = argv[1], output_dir = argv[2];
  return launcher::run_in_session({.output_dir = output_dir}, [&](launcher::Session& session) {
    launcher::TrainingJob job{session, launcher::load_for_session(session, model)};
    Trainer& trainer = job.trainer();

    std::vector<std::string> texts{"The river is wide.", "A bridge!", "Clouds drift over the hills all day."};
    for (int round = 0; round < 3; ++round) {
      Batch batch{.texts = texts};
      // An encoder-decoder learns to answer; here its own input, without the end.
      if (trainer.model().shape().is_encoder_decoder) batch.texts_labels = {"wide", "bridge", "clouds"};
      const StepStats stats = trainer.step(batch);
      session.log().info(stats.summary());
      for (auto& text : texts) text += " So it is.";  // your generating and filtering goes here
    }
    trainer.save_model(output_dir);
    return ExitCode::Success;
  });
}

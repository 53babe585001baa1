// TRL's IterativeSFTTrainer, its example with input_ids and attention_mask. Lengths differ and may be
// padded on either side: what the mask hides is not there. No pad token is needed.
//
//   mpirun --bind-to none -np 2 step_tokens MODEL_FOLDER OUTPUT_FOLDER
#include <iostream>
#include <vector>

#include "hone/launcher/run_in_session.hpp"
#include "hone/launcher/training_job.hpp"

using namespace hone;

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: step_tokens MODEL_FOLDER OUTPUT_FOLDER\n";
    return static_cast<int>(ExitCode::Usage);
  }
  const std::filesystem::path model = argv[1], output_dir = argv[2];
  return launcher::run_in_session({.output_dir = output_dir}, [&](launcher::Session& session) {
    launcher::TrainingJob job{session, launcher::load_for_session(session, model)};
    Trainer& trainer = job.trainer();

    Batch batch{.input_ids = {{72, 101, 108, 108, 111}, {72, 105, 0, 0}, {0, 89, 101, 115}},
                .attention_mask = {{1, 1, 1, 1, 1}, {1, 1, 0, 0}, {0, 1, 1, 1}}};
    // Of a decoder-only model the labels are the input_ids unless given.
    if (trainer.model().shape().is_encoder_decoder) batch.labels = {{72, 105}, {72, 111}, {78, 111, -100}};
    for (int round = 0; round < 3; ++round) {
      const StepStats stats = trainer.step(batch);
      session.log().info(stats.summary());
    }
    trainer.save_model(output_dir);
    return ExitCode::Success;
  });
}

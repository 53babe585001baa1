// An iterative training as a user of the library writes it, with everything in it that a rank turns
// to. The rank that is named signals itself when it turns to a phase, or, where the signal is 0, sums
// fewer gradients than the others; faults_test.py and fake_gpu_test.py look at what becomes of the job.
//
//   phase_victim MODEL_FOLDER OUTPUT_FOLDER [RANK SIGNAL PHASE COUNT [inside]]
//
// With "inside" it signals itself a little later, while it waits for the others in the phase's first
// collective.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "hone/distributed/all_reduce_gradient_reducer.hpp"
#include "hone/launcher/run_in_session.hpp"
#include "hone/launcher/training_job.hpp"

namespace {

using namespace hone;

constexpr std::int64_t kMaxSteps = 5;
/// Updates before a fault: there is a checkpoint to go on from.
constexpr std::int64_t kSoundSteps = 2;
/// Until a heartbeat has told of the phase.
constexpr std::chrono::milliseconds kUntilTold{1300};

struct Fault {
  int rank = -1;
  int signal = 0;  ///< 0: the rank sums what no other does
  std::string phase;
  int count = 1;  ///< at which entry of the phase
  bool is_inside = false;
};

/// Tells another Activity of everything, and commits the fault when its phase comes.
class FaultyActivity final : public Activity {
 public:
  FaultyActivity(launcher::Session& session, Fault fault, std::filesystem::path note)
      : inner_(session.activity()),
        comm_(session.device_communicator()),
        is_victim_(session.rank() == fault.rank),
        fault_(std::move(fault)),
        note_(std::move(note)) {}

  /// Entries count from here on.
  void arm() { is_armed_ = true; }

  void enter(std::string_view phase, bool is_regular) override {
    inner_.enter(phase, is_regular);
    if (!is_armed_ || phase != fault_.phase || --fault_.count != 0) return;
    if (fault_.is_inside) {
      be_hit_inside();
    } else if (is_victim_) {
      std::this_thread::sleep_for(kUntilTold);
      commit();
    }
  }

 private:
  void be_hit_inside() {
    if (is_victim_) {
      std::thread{[this] {
        std::this_thread::sleep_for(kUntilTold);
        commit();
      }}.detach();
    } else {
      std::this_thread::sleep_for(2 * kUntilTold);
    }
  }
  void commit() {
    std::ofstream{note_} << fault_.phase << '\n';  // its time is that of the fault
    if (fault_.signal != 0) {
      kill(getpid(), fault_.signal);
    } else {
      comm_.start_all_reduce(&summed_, 1, DType::Float32, ReduceOp::Sum);
    }
  }

  Activity& inner_;
  Communicator& comm_;
  bool is_victim_;
  float summed_ = 0.0F;
  Fault fault_;
  std::filesystem::path note_;
  bool is_armed_ = false;
};

/// Notes the updates, and rank 0 every checkpoint that save() has answered for.
class Notes final : public TrainerCallback {
 public:
  Notes(launcher::Session& session, const std::filesystem::path& file) : session_(session) {
    if (session.is_root()) file_.open(file, std::ios::app);
  }
  void on_step_end(const TrainerState&, const UpdateStats& update) override {
    session_.note_step(update.step);
  }
  void on_save(const TrainerState& state, const std::filesystem::path&) override {
    file_ << state.global_step << std::endl;
  }

 private:
  launcher::Session& session_;
  std::ofstream file_;
};

/// Nothing is left out, for any sample will do.
Batch scored(Communicator& comm, const std::vector<Completion>& drafts, std::int64_t per_prompt) {
  Batch batch{.scope = BatchScope::PerRank};
  run_agreed(comm, [&] {
    for (const auto& draft : drafts) {
      batch.texts.push_back("say: " + draft.text);
      batch.order.push_back(draft.prompt_index * per_prompt + draft.k);
    }
  });
  return batch;
}

ExitCode train(launcher::Session& session, const std::filesystem::path& model_folder,
               const std::filesystem::path& output, const Fault& fault) {
  auto& comm = session.communicator();
  FaultyActivity activity{session, fault, output / "fault"};
  if (fault.phase == "start") activity.arm();
  activity.enter("start", false);

  const auto loaded = launcher::load_for_session(session, model_folder);
  distributed::AllReduceGradientReducer reducer{session.device_communicator()};
  const collators::PackingCollator collator;
  checkpoints::Hdf5CheckpointStore store{comm, session.log(), {.run_directory = output}};
  TrainerParts parts{.model = *loaded.model,
                     .communicator = comm,
                     .reducer = reducer,
                     .collator = collator,
                     .log = session.log(),
                     .tokenizer = loaded.tokenizer.get(),
                     .checkpoints = &store,
                     .stop_signal = session.stop_signal(),
                     .activity = &activity,
                     .optimizer = nullptr,
                     .model_folder = model_folder,
                     .eval_sets = {{.name = "", .batch = {.texts = {"say: one", "say: two"}}}}};
  Trainer trainer{std::move(parts),
                  {.append_eos = true,
                   .updates_per_step = "one",
                   .learning_rate = 1e-3,
                   .max_steps = kMaxSteps,
                   .eval_strategy = "steps",
                   .eval_steps = 1,
                   .save_steps = 1}};
  Notes notes{session, output / "acknowledged"};
  trainer.add_callback(notes);
  trainer.resume();
  const std::vector<std::string> prompts{"one ", "two and ", "three of them "};
  while (!trainer.done()) {
    if (trainer.state().global_step == kSoundSteps) activity.arm();
    const auto drafts = trainer.generate(prompts, {.num_return_sequences = 2, .max_new_tokens = 4});
    activity.enter("score", false);
    trainer.step(scored(comm, drafts, 2));
  }
  if (trainer.stopped()) return ExitCode::Stopped;
  trainer.save_model(output);
  return ExitCode::Success;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && argc != 7 && argc != 8) return static_cast<int>(ExitCode::Usage);
  Fault fault;
  if (argc >= 7) {
    fault = {std::stoi(argv[3]), std::stoi(argv[4]), argv[5], std::stoi(argv[6]), argc == 8};
  }
  const std::filesystem::path output = argv[2];
  return launcher::run_in_session({.output_dir = output}, [&](launcher::Session& session) {
    return train(session, argv[1], output, fault);
  });
}

// Updates of GPT-2 124M in float32 on random sequences, with the products and the memory that the
// program has: measure_hone REPEATS. Prints, for each update, a line of JSON: its seconds, and those
// that the slowest rank spent on summing gradients.
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "data_parallel/sequence_lengths.hpp"
#include "fakes/warning_log.hpp"
#include "hone/collators/causal_lm_collator.hpp"
#include "hone/core/keyed_random.hpp"
#include "hone/core/training/trainer.hpp"
#include "hone/distributed/all_reduce_gradient_reducer.hpp"
#include "hone/distributed/communicator_factory.hpp"
#include "job/torch_settings.hpp"

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kVocabulary = 50257;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::unique_ptr<hone::LanguageModel> random_gpt2() {
  const auto folder = std::filesystem::temp_directory_path() / ("hone-gpt2-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream{folder / "config.json"}
      << R"({"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768,
             "n_layer": 12, "n_head": 12, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0})";
  auto model = hone::build_model(folder);
  std::filesystem::remove_all(folder);
  const c10::NoGradGuard no_grad;
  const hone::KeyedRandom random{1, 2};
  for (auto& group : model->parameters().groups()) {
    auto* values = group.values.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < group.values.numel(); ++i) {
      values[i] = static_cast<float>(0.04 * (random.uniform(static_cast<std::uint64_t>(i)) - 0.5));
    }
  }
  return model;
}

hone::Batch batch() {
  hone::Batch samples;
  const hone::KeyedRandom random{3, 4};
  std::uint64_t number = 0;
  for (const auto length : hone::bench::kLengths) {
    auto& ids = samples.input_ids.emplace_back();
    for (int i = 0; i < length; ++i) {
      ids.push_back(static_cast<std::int64_t>(random.uniform(number++) * (kVocabulary - 1)));
    }
  }
  return samples;
}

}  // namespace

int main(int argc, char** argv) {
  const int repeats = argc > 1 ? std::stoi(argv[1]) : 3;
  hone::launcher::prepare_torch(1);
  const hone::distributed::MpiEnvironment mpi;
  const auto comm = hone::distributed::make_communicator(hone::distributed::Backend::Auto, mpi);
  hone::launcher::choose_matmul_library(*comm);
  const auto model = random_gpt2();
  hone::distributed::AllReduceGradientReducer reducer{*comm};
  const hone::collators::PackingCollator packing;
  hone::testing::WarningLog log;
  hone::Trainer trainer{{.model = *model,
                         .communicator = *comm,
                         .reducer = reducer,
                         .collator = packing,
                         .log = log},
                        {.updates_per_step = "one", .learning_rate = 1e-5, .replica_check_steps = 0}};
  const auto samples = batch();
  for (int repeat = 0; repeat <= repeats; ++repeat) {
    comm->barrier();
    const auto start = Clock::now();
    const auto stats = trainer.step(samples);
    double seconds[2] = {seconds_since(start), 0.0};
    for (const auto& [name, value] : stats.to_map()) {
      if (name == "reduce_time") seconds[1] = value;
    }
    comm->all_reduce(seconds, 2, hone::DType::Float64, hone::ReduceOp::Max);
    if (repeat == 0 || comm->rank() != 0) continue;
    std::printf("{\"way\": \"hone, %d ranks\", \"seconds\": %.4f, \"reduce\": %.4f}\n", comm->size(),
                seconds[0], seconds[1]);
    std::fflush(stdout);
  }
}

#include "commands/bench_step.hpp"

#include <nlohmann/json.hpp>
#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

#include "bench/model_bench.hpp"
#include "bench/op_profile.hpp"
#include "bench/page_faults.hpp"
#include "bench/process_age.hpp"
#include "bench/step_report.hpp"
#include "hone/collators/causal_lm_collator.hpp"
#include "hone/core/error.hpp"
#include "hone/core/keyed_random.hpp"
#include "hone/core/training/trainer.hpp"
#include "job/session_parts.hpp"

namespace hone::launcher {
namespace {

struct BenchStepOptions {
  ModelBenchOptions model;
  std::vector<std::int64_t> lengths{111, 306, 347, 172, 183, 102, 77, 78};
  std::int64_t per_device_train_batch_size = 8;
  bool gradient_checkpointing = false;
  bool profile = false;

  void bind(OptionRegistry& registry) {
    model.bind_model(registry);
    auto update = registry.group("Update");
    update
        .add("lengths", &lengths, "Tokens of each sequence of the update: 128,300.", at_least(2))
        .comma_separated();
    update.add("per_device_train_batch_size", &per_device_train_batch_size,
               "Samples that a rank computes at once.", at_least(1));
    update.add("gradient_checkpointing", &gradient_checkpointing,
               "Keep only each block's input for the backward pass and compute the rest again.");
    model.bind_measurement(registry, "Updates");
    registry.group("Measurement")
        .add("profile", &profile,
             "Also print where the time goes, and what each part takes at least; on the CPU always.");
  }

  void validate() const {
    if (lengths.empty()) throw ConfigError{"lengths is empty. Give some: --lengths 128,300"};
  }
};

/// Random sequences, the same on every rank. Throws: ConfigError for one that the model would cut.
Batch batch_of(const std::vector<std::int64_t>& lengths, const ModelShape& shape) {
  Batch batch;
  const auto longest = std::ranges::max(lengths);
  if (!shape.is_encoder_decoder && longest > shape.max_positions) {
    throw ConfigError{"lengths has " + std::to_string(longest) + " tokens, and the model takes " +
                      std::to_string(shape.max_positions) + " at most"};
  }
  const KeyedRandom random{3, 4};
  std::uint64_t number = 0;
  for (const auto length : lengths) {
    auto& ids = batch.input_ids.emplace_back();
    for (std::int64_t i = 0; i < length; ++i) {
      const double place = random.uniform(number++) * static_cast<double>(shape.vocab_size);
      ids.push_back(static_cast<std::int64_t>(place));
    }
  }
  return batch;
}

/// A profile of what the forward and backward passes do.
class ProfiledPasses final : public Activity {
 public:
  void enter(std::string_view phase, bool) override {
    profile.listen(phase == "forward" || phase == "backward");
  }
  OpProfile profile;
};

/// `profile` (null: none, since it takes time itself) sees the measured updates alone, not the one
/// before.
MeasuredUpdates measure(Trainer& trainer, const Batch& batch, std::int64_t repeats,
                        OpProfile* profile) {
  MeasuredUpdates measured;
  trainer.step(batch);
  measured.first_step_from_start = seconds_since_start();
  if (profile != nullptr) profile->clear();
  const auto faults = page_faults();
  for (std::int64_t i = 0; i < repeats; ++i) {
    const auto stats = trainer.step(batch);
    measured.seconds.push_back(stats.step_time);
    for (std::size_t phase = 0; phase < kNumPhases; ++phase) {
      measured.phases[phase] += stats.phase_times[phase];
    }
    measured.peak_memory = stats.peak_memory;
  }
  measured.page_faults = page_faults() - faults;
  return measured;
}

nlohmann::ordered_json measure_on(Session& session, LanguageModel& model,
                                  const BenchStepOptions& options) {
  const collators::PackingCollator collator;
  std::optional<ProfiledPasses> passes;
  if (options.profile) passes.emplace();
  auto* const profile = passes ? &passes->profile : nullptr;
  const TrainerOptions how{.per_device_train_batch_size = options.per_device_train_batch_size,
                           .gradient_checkpointing = options.gradient_checkpointing,
                           .updates_per_step = "one",
                           .learning_rate = 1e-5};
  const auto reducer = make_reducer(session, how);
  Trainer trainer{{.model = model,
                   .communicator = session.communicator(),
                   .reducer = *reducer,
                   .collator = collator,
                   .log = session.log(),
                   .activity = passes ? &*passes : nullptr},
                  how};
  const auto batch = batch_of(options.lengths, model.shape());
  auto measured = measure(trainer, batch, options.model.repeats, profile);
  measured.least = least_work(model, options.lengths, session.size());
  measured.tokens =
      std::accumulate(options.lengths.begin(), options.lengths.end(), std::int64_t{0});
  return step_report(measured, profile);
}

}  // namespace

int run_bench_step(const CommandContext& context, Arguments arguments) {
  BenchStepOptions options;
  OptionRegistry registry{"hone bench step",
                          "Measures updates of a model on sequences of given lengths."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  options.validate();
  // Operators of a GPU end after their calls.
  if (options.profile) options.model.use_cpu = true;
  const auto measure = [&](Session& session, LanguageModel& model) {
    return measure_on(session, model, options);
  };
  return run_model_bench(context, options.model,
                         {.trains = true, .measure = measure, .text = step_text});
}

}  // namespace hone::launcher

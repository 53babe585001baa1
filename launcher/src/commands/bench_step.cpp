#include "commands/bench_step.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "bench/drawn_parameters.hpp"
#include "bench/op_profile.hpp"
#include "bench/process_age.hpp"
#include "hone/core/error.hpp"
#include "hone/core/keyed_random.hpp"
#include "hone/core/model/language_model.hpp"
#include "hone/launcher/job_options.hpp"
#include "hone/launcher/session.hpp"
#include "hone/collators/causal_lm_collator.hpp"
#include "hone/core/training/trainer.hpp"
#include "hone/distributed/all_reduce_gradient_reducer.hpp"
#include "job/torch_settings.hpp"

namespace hone::launcher {
namespace {

using nlohmann::ordered_json;

struct BenchStepOptions {
  std::string model_name_or_path;
  std::vector<std::int64_t> lengths{111, 306, 347, 172, 183, 102, 77, 78};
  bool bf16 = false;
  bool gradient_checkpointing = false;
  std::int64_t per_device_train_batch_size = 8;
  std::int64_t repeats = 5;
  bool profile = false;
  bool json = false;
  std::optional<std::int64_t> num_threads;

  void bind(OptionRegistry& registry) {
    auto what = registry.group("Measurement");
    what.add("model_name_or_path", &model_name_or_path,
             "A folder with config.json; weights are not needed, they are drawn.")
        .positional()
        .required();
    what.add("lengths", &lengths, "Tokens of each sequence of the update: 128,300.", at_least(2))
        .comma_separated();
    what.add("bf16", &bf16, "Compute in bfloat16, with float32 masters.");
    what.add("gradient_checkpointing", &gradient_checkpointing,
             "Keep only each block's input for the backward pass and compute the rest again.");
    what.add("per_device_train_batch_size", &per_device_train_batch_size,
             "Samples that a rank computes at once.", at_least(1));
    what.add("repeats", &repeats, "Updates that are measured, after one that is not.", at_least(1));
    what.add("profile", &profile, "Also print where the time goes, and what the matrix products alone take.");
    what.add("num_threads", &num_threads, "Compute threads of each rank; null: the cores it may use.",
             at_least(1));
    what.add("json", &json, "JSON to standard output.");
  }
};

Batch batch_of(const std::vector<std::int64_t>& lengths, std::int64_t vocab_size) {
  Batch batch;
  const KeyedRandom random{3, 4};
  std::uint64_t number = 0;
  for (const auto length : lengths) {
    auto& ids = batch.input_ids.emplace_back();
    for (std::int64_t i = 0; i < length; ++i) {
      ids.push_back(static_cast<std::int64_t>(random.uniform(number++) * static_cast<double>(vocab_size - 1)));
    }
  }
  return batch;
}

/// Pages that this process waited for since it began.
std::int64_t page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

struct Measured {
  std::vector<double> seconds;                   ///< of each update
  std::array<double, kNumPhases> phases{};       ///< of all, summed
  std::int64_t page_faults = 0;                  ///< of all
  std::int64_t peak_memory = 0;                  ///< bytes
};

Measured measure(Trainer& trainer, const Batch& batch, std::int64_t repeats) {
  Measured measured;
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

/// Lets a profile count what the forward and backward passes do.
class PassListener final : public Activity {
 public:
  explicit PassListener(OpProfile& profile) : profile_(profile) {}
  void enter(std::string_view phase, bool) override {
    profile_.listen(phase == "forward" || phase == "backward");
  }

 private:
  OpProfile& profile_;
};

/// What one update takes, by what it is for. "floor": what that takes at least, where it is known.
ordered_json rows_of(const Measured& measured, const OpProfile& profile) {
  const auto updates = static_cast<double>(measured.seconds.size());
  const auto of = [&](Phase phase) {
    return measured.phases[static_cast<std::size_t>(phase)] / updates;
  };
  auto rows = ordered_json::array();
  double in_operators = 0.0;
  for (std::size_t work = 0; work < kNumWorks; ++work) {
    const double seconds = profile.seconds()[work] / updates;
    in_operators += seconds;
    rows.push_back({{"what", kWorkNames[work]},
                    {"seconds", seconds},
                    {"operators", static_cast<double>(profile.calls()[work]) / updates}});
  }
  rows[0]["floor"] = floor_of(profile.products()) / updates;
  rows.push_back({{"what", "dispatch"},  // autograd and whatever is between operators
                  {"seconds", of(Phase::Forward) + of(Phase::Backward) - in_operators}});
  for (const auto phase : {Phase::Optimizer, Phase::Reduce, Phase::Data, Phase::Evaluate}) {
    rows.push_back({{"what", kPhaseNames[static_cast<std::size_t>(phase)]}, {"seconds", of(phase)}});
  }
  return rows;
}

/// The operators that take longest, of one update.
ordered_json heaviest(const OpProfile& profile, double updates) {
  constexpr std::size_t kMost = 12;
  std::vector<std::pair<double, std::string>> all;
  for (const auto& [name, total] : profile.operators()) all.emplace_back(total.seconds, name);
  std::ranges::sort(all, std::greater{});
  all.resize(std::min(all.size(), kMost));
  auto list = ordered_json::array();
  for (const auto& [seconds, name] : all) {
    const auto calls = static_cast<double>(profile.operators().at(name).calls);
    list.push_back({{"operator", name}, {"seconds", seconds / updates}, {"calls", calls / updates}});
  }
  return list;
}

std::string list_of(const ordered_json& operators) {
  std::string text = "operators that take longest\n";
  for (const auto& entry : operators) {
    char line[160];
    std::snprintf(line, sizeof line, "  %9.4f  %6.0f x %s\n", entry["seconds"].get<double>(),
                  entry["calls"].get<double>(), entry["operator"].get<std::string>().c_str());
    text += line;
  }
  return text;
}

std::string table_of(const ordered_json& rows, double total) {
  std::string text = "what          seconds   share   at least   operators\n";
  for (const auto& row : rows) {
    const double seconds = row["seconds"];
    char line[128];
    std::snprintf(line, sizeof line, "%-11s %9.4f  %5.1f %%", row["what"].get<std::string>().c_str(),
                  seconds, 100 * seconds / total);
    text += line;
    if (row.contains("floor")) {
      std::snprintf(line, sizeof line, "  %9.4f", row["floor"].get<double>());
      text += line;
    } else {
      text += "           ";
    }
    if (row.contains("operators")) {
      std::snprintf(line, sizeof line, "  %10.0f", row["operators"].get<double>());
      text += line;
    }
    text += '\n';
  }
  return text;
}

std::unique_ptr<LanguageModel> drawn_model(const BenchStepOptions& options) {
  auto model = build_model(options.model_name_or_path,
                           {.dtype = options.bf16 ? at::kBFloat16 : at::kFloat,
                            .with_masters = options.bf16});
  draw_parameters(*model);
  model->set_gradient_checkpointing(options.gradient_checkpointing);
  return model;
}

ordered_json report_of(const Measured& measured, std::int64_t tokens, Session& session,
                       const std::string& library) {
  const double middle = median(measured.seconds);
  return {{"ranks", session.size()},
          {"products_by", library},
          {"tokens", tokens},
          {"seconds", middle},
          {"min_seconds", std::ranges::min(measured.seconds)},
          {"max_seconds", std::ranges::max(measured.seconds)},
          {"tokens_per_second", static_cast<double>(tokens) / middle},
          {"peak_memory", measured.peak_memory},
          {"page_faults",
           measured.page_faults / static_cast<std::int64_t>(measured.seconds.size())}};
}

std::string summary_of(const ordered_json& report) {
  char line[256];
  std::snprintf(line, sizeof line,
                "an update of %lld tokens: %.3f s (%.3f to %.3f), %.0f tokens/s, peak memory %.2f GB, "
                "%lld page faults, products by %s\n",
                report["tokens"].get<long long>(), report["seconds"].get<double>(),
                report["min_seconds"].get<double>(), report["max_seconds"].get<double>(),
                report["tokens_per_second"].get<double>(), report["peak_memory"].get<double>() * 1e-9,
                report["page_faults"].get<long long>(),
                report["products_by"].get<std::string>().c_str());
  return line;
}

void run_on(Session& session, const BenchStepOptions& options) {
  const auto library = choose_matmul_library(session.communicator());
  std::unique_ptr<LanguageModel> model;
  run_agreed(session.communicator(), [&] { model = drawn_model(options); });
  const collators::PackingCollator collator;
  distributed::AllReduceGradientReducer reducer{session.communicator(), {}, &session.device()};
  OpProfile profile;
  PassListener listener{profile};
  Trainer trainer{{.model = *model,
                   .communicator = session.communicator(),
                   .reducer = reducer,
                   .collator = collator,
                   .log = session.log(),
                   .activity = options.profile ? &listener : nullptr},
                  {.per_device_train_batch_size = options.per_device_train_batch_size,
                   .updates_per_step = "one",
                   .learning_rate = 1e-5}};
  const auto batch = batch_of(options.lengths, model->shape().vocab_size);
  trainer.step(batch);
  const double first_step = seconds_since_start();
  profile.clear();
  const auto measured = measure(trainer, batch, options.repeats);
  const auto tokens =
      std::accumulate(options.lengths.begin(), options.lengths.end(), std::int64_t{0});
  auto report = report_of(measured, tokens, session, library);
  report["first_step_from_start"] = first_step;
  if (options.profile) {
    report["rows"] = rows_of(measured, profile);
    report["operators"] = heaviest(profile, static_cast<double>(measured.seconds.size()));
  }
  if (!session.is_root()) return;
  if (options.json) return session.screen().print(report.dump(2) + '\n');
  session.screen().print(session.describe() + '\n' + summary_of(report));
  if (options.profile) {
    session.screen().print(table_of(report["rows"], report["seconds"].get<double>()) +
                           list_of(report["operators"]));
  }
}

}  // namespace

int run_bench_step(const CommandContext& context, Arguments arguments) {
  BenchStepOptions options;
  OptionRegistry registry{"hone bench step", "Measures updates of a model on sequences of given lengths."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  if (options.lengths.empty()) throw ConfigError{"lengths is empty. Give some: --lengths 128,300"};
  Session session{{.use_cpu = true,
                   .num_threads = options.num_threads,
                   .watch_signals = false,
                   .set_num_threads = prepare_torch},
                  context.environment,
                  context.screen};
  return session.run([&] {
    run_on(session, options);
    return 0;
  });
}

}  // namespace hone::launcher

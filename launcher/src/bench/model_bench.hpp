#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "hone/core/model/language_model.hpp"
#include "hone/launcher/commands.hpp"
#include "hone/launcher/session.hpp"

namespace hone::launcher {

/// Options that every measurement of a model has.
struct ModelBenchOptions {
  std::string model_name_or_path;
  bool bf16 = false;
  std::int64_t repeats = 5;
  std::optional<std::int64_t> num_threads;
  bool use_cpu = false;
  WatchOptions watch;
  bool json = false;

  /// Before the options of what is measured: in the help text the model stands first.
  void bind_model(OptionRegistry& registry);
  /// Behind them. `measured` is what is repeated: "Updates".
  void bind_measurement(OptionRegistry& registry, const std::string& measured);
};

/// What is measured of a model, and how that is shown.
struct ModelBench {
  bool trains = false;  ///< bfloat16 values get float32 masters
  /// The keys of the report that follow those of all measurements of models. Collective.
  std::function<nlohmann::ordered_json(Session&, LanguageModel&)> measure;
  /// A whole report for people: lines.
  std::function<std::string(const nlohmann::ordered_json&)> text;
};

/// Starts a job, draws the model's parameters on each rank, measures, and shows rank 0's
/// report. Returns the job's exit code.
int run_model_bench(const CommandContext& context, const ModelBenchOptions& options,
                    const ModelBench& bench);

/// Keys of calls that took `seconds` each, for `tokens` tokens each.
nlohmann::ordered_json speed_of(std::int64_t tokens, const std::vector<double>& seconds);

}  // namespace hone::launcher

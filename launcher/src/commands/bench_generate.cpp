#include "commands/bench_generate.hpp"

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/model_bench.hpp"
#include "bench/read_bandwidth.hpp"
#include "hone/core/error.hpp"
#include "hone/core/generation/generator.hpp"
#include "hone/core/keyed_random.hpp"
#include "hone/core/memory/device_memory.hpp"

namespace hone::launcher {
namespace {

using nlohmann::ordered_json;

struct BenchGenerateOptions {
  ModelBenchOptions model;
  std::int64_t prompt_length = 64;
  GenerationOptions generation{.do_sample = false, .max_new_tokens = 128, .batch_size = 8};

  void bind(OptionRegistry& registry) {
    model.bind_model(registry);
    registry.group("Prompts").add("prompt_length", &prompt_length, "Tokens of each prompt.",
                                  at_least(1));
    register_generation_options(registry, generation);
    model.bind_measurement(registry, "Calls");
  }

  std::int64_t num_prompts() const {
    return generation.batch_size / generation.num_return_sequences;
  }

  void validate() const {
    generation.validate();
    if (num_prompts() < 1) throw ConfigError{"batch_size is below num_return_sequences"};
  }
};

/// As many prompts as have room for all their completions in one batch.
std::vector<PromptTokens> prompts_of(const BenchGenerateOptions& options, std::int64_t vocab_size) {
  std::vector<PromptTokens> prompts;
  const KeyedRandom random{3, 4};
  std::uint64_t number = 0;
  for (std::int64_t index = 0; index < options.num_prompts(); ++index) {
    auto& prompt = prompts.emplace_back();
    prompt.index = index;
    for (std::int64_t i = 0; i < options.prompt_length; ++i) {
      const double place = random.uniform(number++) * static_cast<double>(vocab_size);
      prompt.ids.push_back(static_cast<std::int64_t>(place));
    }
  }
  return prompts;
}

struct Measured {
  std::vector<double> seconds;  ///< of each call, prompts included
  std::int64_t tokens = 0;      ///< new ones of each call
};

Measured measure(LanguageModel& model, const BenchGenerateOptions& options) {
  const auto prompts = prompts_of(options, model.shape().vocab_size);
  Measured measured;
  for (std::int64_t call = 0; call <= options.model.repeats; ++call) {
    const auto start = std::chrono::steady_clock::now();
    const auto completions =
        generate(model, prompts, options.generation, /*seed=*/1, static_cast<std::uint64_t>(call));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (call > 0) measured.seconds.push_back(took.count());
    measured.tokens = 0;
    for (const auto& completion : completions) {
      if (completion.finish_reason == FinishReason::Eos) {
        throw InputError{"a completion ended with the end token, and calls must be of one length: "
                         "take eos_token_id out of config.json and generation_config.json"};
      }
      measured.tokens += static_cast<std::int64_t>(completion.ids.size());
    }
  }
  return measured;
}

/// Each rank does the same, by itself.
ordered_json report_of(LanguageModel& model, const BenchGenerateOptions& options) {
  const auto measured = measure(model, options);
  auto report = speed_of(measured.tokens, measured.seconds);
  const auto weights = model.parameters().num_elements() * model.parameters().element_bytes();
  const auto device = model.parameters().options().device();
  const auto peak = peak_memory(device);  // before the measurement below takes some
  const double bandwidth = read_bandwidth(device);
  // Every new token of a sequence needs all weights once, and those of a batch share them.
  const double read = static_cast<double>(weights * options.generation.max_new_tokens) /
                      report["seconds"].get<double>();
  report.update({{"weight_bytes", weights},
                 {"read_gb_per_second", read * 1e-9},
                 {"bandwidth_gb_per_second", bandwidth * 1e-9},
                 {"share_of_bandwidth", read / bandwidth},
                 {"peak_memory", peak}});
  return report;
}

std::string summary_of(const ordered_json& report) {
  char line[320];
  std::snprintf(line, sizeof line,
                "%lld new tokens: %.3f s (%.3f to %.3f), %.1f tokens/s, weights read at %.1f GB/s, "
                "%.0f %% of its memory's %.1f GB/s, peak memory %.2f GB, products by %s\n",
                report["tokens"].get<long long>(), report["seconds"].get<double>(),
                report["min_seconds"].get<double>(), report["max_seconds"].get<double>(),
                report["tokens_per_second"].get<double>(),
                report["read_gb_per_second"].get<double>(),
                100 * report["share_of_bandwidth"].get<double>(),
                report["bandwidth_gb_per_second"].get<double>(),
                report["peak_memory"].get<double>() * 1e-9,
                report["products_by"].get<std::string>().c_str());
  return line;
}

}  // namespace

int run_bench_generate(const CommandContext& context, Arguments arguments) {
  BenchGenerateOptions options;
  OptionRegistry registry{"hone bench generate",
                          "Measures completions of prompts of a given length."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  options.validate();
  const auto measure_on = [&](Session& session, LanguageModel& model) {
    ordered_json report;
    run_agreed(session.communicator(), [&] { report = report_of(model, options); });
    return report;
  };
  return run_model_bench(context, options.model, {.measure = measure_on, .text = summary_of});
}

}  // namespace hone::launcher

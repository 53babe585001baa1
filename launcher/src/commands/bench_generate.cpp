#include "commands/bench_generate.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/drawn_parameters.hpp"
#include "bench/read_bandwidth.hpp"
#include "hone/core/error.hpp"
#include "hone/core/generation/generator.hpp"
#include "hone/core/keyed_random.hpp"
#include "hone/core/model/language_model.hpp"
#include "hone/launcher/job_options.hpp"
#include "hone/launcher/session.hpp"
#include "job/torch_settings.hpp"

namespace hone::launcher {
namespace {

using nlohmann::ordered_json;

struct BenchGenerateOptions {
  std::string model_name_or_path;
  std::int64_t prompt_length = 64;
  GenerationOptions generation{.do_sample = false, .max_new_tokens = 128, .batch_size = 8};
  bool bf16 = false;
  std::int64_t repeats = 5;
  bool json = false;
  std::optional<std::int64_t> num_threads;

  void bind(OptionRegistry& registry) {
    auto what = registry.group("Measurement");
    what.add("model_name_or_path", &model_name_or_path,
             "A folder with config.json; weights are not needed, they are drawn.")
        .positional()
        .required();
    what.add("prompt_length", &prompt_length, "Tokens of each prompt.", at_least(1));
    what.add("bf16", &bf16, "Compute in bfloat16.");
    what.add("repeats", &repeats, "Calls that are measured, after one that is not.", at_least(1));
    what.add("num_threads", &num_threads,
             "Compute threads of each rank; null: the cores it may use.", at_least(1));
    what.add("json", &json, "JSON to standard output.");
    register_generation_options(registry, generation);
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
  for (std::int64_t call = 0; call <= options.repeats; ++call) {
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
  std::ranges::sort(measured.seconds);
  return measured;
}

/// Bytes of the most memory that this process had.
std::int64_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

/// Each rank does the same; rank 0's figures are reported.
ordered_json report_of(LanguageModel& model, const Measured& measured,
                       const BenchGenerateOptions& options, const Session& session,
                       const std::string& library) {
  const double middle = measured.seconds[measured.seconds.size() / 2];
  const auto weights = model.parameters().num_elements() * model.parameters().element_bytes();
  const auto peak = peak_memory();  // before the measurement below takes some
  const double bandwidth = read_bandwidth();
  // Every new token of a sequence needs all weights once, and those of a batch share them.
  const double read = static_cast<double>(weights * options.generation.max_new_tokens) / middle;
  return {{"ranks", session.size()},
          {"products_by", library},
          {"tokens", measured.tokens},
          {"seconds", middle},
          {"min_seconds", measured.seconds.front()},
          {"max_seconds", measured.seconds.back()},
          {"tokens_per_second", static_cast<double>(measured.tokens) / middle},
          {"weight_bytes", weights},
          {"read_gb_per_second", read * 1e-9},
          {"bandwidth_gb_per_second", bandwidth * 1e-9},
          {"share_of_bandwidth", read / bandwidth},
          {"peak_memory", peak}};
}

std::string summary_of(const ordered_json& report) {
  char line[320];
  std::snprintf(line, sizeof line,
                "%lld new tokens: %.3f s (%.3f to %.3f), %.1f tokens/s, weights read at %.1f GB/s, "
                "%.0f %% of this machine's %.1f GB/s, peak memory %.2f GB, products by %s\n",
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

void run_on(Session& session, const BenchGenerateOptions& options) {
  const auto library = choose_matmul_library(session.communicator());
  ordered_json report;
  run_agreed(session.communicator(), [&] {
    const auto model = build_model(options.model_name_or_path,
                                   {.dtype = options.bf16 ? at::kBFloat16 : at::kFloat});
    draw_parameters(*model);
    report = report_of(*model, measure(*model, options), options, session, library);
  });
  if (!session.is_root()) return;
  if (options.json) return session.screen().print(report.dump(2) + '\n');
  session.screen().print(session.describe() + '\n' + summary_of(report));
}

}  // namespace

int run_bench_generate(const CommandContext& context, Arguments arguments) {
  BenchGenerateOptions options;
  OptionRegistry registry{"hone bench generate",
                          "Measures completions of prompts of a given length."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  options.validate();
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

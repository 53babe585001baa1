#include "bench/model_bench.hpp"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "bench/drawn_parameters.hpp"
#include "bench/median.hpp"
#include "job/session_parts.hpp"
#include "job/torch_settings.hpp"

namespace hone::launcher {
namespace {

using nlohmann::ordered_json;

std::unique_ptr<LanguageModel> drawn_model(const ModelBenchOptions& options, at::Device device,
                                           bool trains) {
  auto model = build_model(options.model_name_or_path,
                           {.dtype = options.bf16 ? at::kBFloat16 : at::kFloat,
                            .device = device,
                            .with_masters = trains && options.bf16});
  draw_parameters(*model);
  return model;
}

ordered_json report_of(Session& session, const ModelBenchOptions& options,
                       const ModelBench& bench) {
  const auto device = torch_device(session);
  const auto library = choose_products(session);
  std::unique_ptr<LanguageModel> model;
  run_agreed(session.communicator(), [&] { model = drawn_model(options, device, bench.trains); });
  ordered_json report{{"ranks", session.size()}, {"products_by", library}};
  report.update(bench.measure(session, *model));
  return report;
}

}  // namespace

void ModelBenchOptions::bind_model(OptionRegistry& registry) {
  auto model = registry.group("Model");
  model
      .add("model_name_or_path", &model_name_or_path,
           "A folder with config.json; weights are not needed, they are drawn.")
      .positional()
      .required();
  model.add("bf16", &bf16, "Compute in bfloat16; while training, with float32 masters.");
}

void ModelBenchOptions::bind_measurement(OptionRegistry& registry, const std::string& measured) {
  auto how = registry.group("Measurement");
  how.add("repeats", &repeats,
          measured + " that are measured, after one that is not; the median counts.", at_least(1));
  how.add("num_threads", &num_threads,
          "Compute threads of each rank; null: the cores it may use.", at_least(1));
  how.add("use_cpu", &use_cpu, "Compute on the CPU also where there is a GPU.");
  watch.bind(how);
  how.add("json", &json, "JSON to standard output.");
}

int run_model_bench(const CommandContext& context, const ModelBenchOptions& options,
                    const ModelBench& bench) {
  Session session{{.use_cpu = options.use_cpu,
                   .num_threads = options.num_threads,
                   .watch = options.watch,
                   .watch_signals = false,
                   .set_num_threads = prepare_torch},
                  context.environment,
                  context.screen};
  return session.run([&] {
    const auto report = report_of(session, options, bench);
    if (!session.is_root()) return 0;
    session.screen().print(options.json ? report.dump(2) + '\n'
                                        : session.describe() + '\n' + bench.text(report));
    return 0;
  });
}

ordered_json speed_of(std::int64_t tokens, const std::vector<double>& seconds) {
  const double middle = median(seconds);
  return {{"tokens", tokens},
          {"seconds", middle},
          {"min_seconds", std::ranges::min(seconds)},
          {"max_seconds", std::ranges::max(seconds)},
          {"tokens_per_second", static_cast<double>(tokens) / middle}};
}

}  // namespace hone::launcher

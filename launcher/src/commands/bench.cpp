#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hone/core/error.hpp"
#include "hone/launcher/commands.hpp"
#include "hone/launcher/session.hpp"

namespace hone::launcher {
namespace {

using Clock = std::chrono::steady_clock;

struct BenchOptions {
  std::string operation = "allreduce";
  std::int64_t min_bytes = std::int64_t{4} << 10;
  std::int64_t max_bytes = std::int64_t{1} << 30;
  std::int64_t repeats = 5;
  std::string ddp_backend = "auto";
  bool json = false;

  void bind(OptionRegistry& registry) {
    auto what = registry.group("Measurement");
    what.add_choice("operation", &operation, "What is measured.", {"allreduce"}).positional();
    what.add("min_bytes", &min_bytes, "The smallest buffer; each next one is four times as large.",
             at_least(4));
    what.add("max_bytes", &max_bytes, "No buffer is larger.", at_least(4));
    what.add("repeats", &repeats, "Measured for each size, after one that is not; the median counts.",
             at_least(1));
    what.add("ddp_backend", &ddp_backend, "How ranks communicate: auto, mpi, nccl.");
    what.add("json", &json, "JSON to standard output.");
  }
};

/// Seconds of one sum of float32 over all ranks, of the slowest: all begin together.
double seconds_of_one(Communicator& comm, std::span<float> values) {
  std::ranges::fill(values, 1.0F);
  comm.barrier();
  const auto start = Clock::now();
  comm.all_reduce(values.data(), static_cast<std::int64_t>(values.size()), DType::Float32,
                  ReduceOp::Sum);
  double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  comm.all_reduce(&seconds, 1, DType::Float64, ReduceOp::Max);
  return seconds;
}

double median_seconds(Communicator& comm, std::span<float> values, std::int64_t repeats) {
  seconds_of_one(comm, values);
  std::vector<double> seconds;
  for (std::int64_t i = 0; i < repeats; ++i) seconds.push_back(seconds_of_one(comm, values));
  const auto expected = static_cast<float>(comm.size());
  if (std::ranges::any_of(values, [&](float value) { return value != expected; })) {
    throw CommunicatorError{"all_reduce of " + std::to_string(values.size_bytes()) +
                            " bytes gives a wrong sum"};
  }
  std::ranges::nth_element(seconds, seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2));
  return seconds[seconds.size() / 2];
}

/// Source of the bus bandwidth: nccl-tests, which count what a ring sends and receives on each rank.
nlohmann::ordered_json measure(Communicator& comm, std::int64_t bytes, std::string_view memory,
                               std::span<float> values, std::int64_t repeats) {
  const double seconds = median_seconds(comm, values, repeats);
  const double gigabytes = static_cast<double>(bytes) * 1e-9;
  const double ranks = comm.size();
  return {{"bytes", bytes},
          {"memory", memory},
          {"seconds", seconds},
          {"algorithm_gb_per_second", gigabytes / seconds},
          {"bus_gb_per_second", gigabytes / seconds * 2 * (ranks - 1) / ranks}};
}

/// On any memory, and on the communicator's own where it has some.
std::vector<nlohmann::ordered_json> measure_each_memory(Communicator& comm, std::int64_t bytes,
                                                        std::int64_t repeats) {
  const auto count = static_cast<std::size_t>(bytes) / sizeof(float);
  std::vector<nlohmann::ordered_json> results;
  {
    std::vector<float> values(count);
    results.push_back(measure(comm, bytes, "any", values, repeats));
  }
  if (const auto memory = comm.allocate(bytes); memory != nullptr) {
    const std::span values{reinterpret_cast<float*>(memory.get()), count};
    results.push_back(measure(comm, bytes, "own", values, repeats));
  }
  return results;
}

std::string line_of(const nlohmann::ordered_json& result) {
  char line[128];
  std::snprintf(line, sizeof line, "%12lld bytes  %s %12.1f us  algorithm %7.2f GB/s  bus %7.2f GB/s\n",
                static_cast<long long>(result["bytes"].get<std::int64_t>()),
                result["memory"] == "own" ? "own memory" : "any memory",
                result["seconds"].get<double>() * 1e6,
                result["algorithm_gb_per_second"].get<double>(),
                result["bus_gb_per_second"].get<double>());
  return line;
}

}  // namespace

int run_bench(const CommandContext& context, Arguments arguments) {
  BenchOptions options;
  OptionRegistry registry{"hone bench", "Measures how fast the ranks of a job sum buffers."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  if (options.max_bytes < options.min_bytes) {
    throw ConfigError{"max_bytes is below min_bytes: there is nothing to measure"};
  }
  Session session{{.ddp_backend = options.ddp_backend, .watch_signals = false}, context.environment,
                  context.screen};
  return session.run([&] {
    auto& comm = session.communicator();
    nlohmann::ordered_json results = nlohmann::ordered_json::array();
    if (!options.json) session.screen().print(session.describe() + '\n');
    for (auto bytes = options.min_bytes; bytes <= options.max_bytes; bytes *= 4) {
      for (const auto& result : measure_each_memory(comm, bytes, options.repeats)) {
        results.push_back(result);
        if (!options.json) session.screen().print(line_of(result));
      }
    }
    if (options.json) {
      const nlohmann::ordered_json report{{"backend", comm.backend()},
                                          {"ranks", comm.size()},
                                          {"dtype", "float32"},
                                          {"results", results}};
      session.screen().print(report.dump(2) + '\n');
    }
    return 0;
  });
}

}  // namespace hone::launcher

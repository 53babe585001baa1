#include "commands/bench_allreduce.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/median.hpp"
#include "hone/core/error.hpp"
#include "hone/launcher/session.hpp"

namespace hone::launcher {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kOneRankNote =
    "one rank sends nothing: the times are those of the call alone. To measure ranks: mpirun "
    "--bind-to none -np 2 hone bench allreduce";

/// What is measured: sums of float32 in memory that `comm` reduces.
struct Subject {
  Communicator& comm;
  Communicator& host;       ///< for times; the same where that reduces host memory
  std::string_view memory;  ///< "any", "own" or "device"
  std::span<float> values;

  bool on_host() const { return &comm == &host; }
};

/// Seconds of one sum over all ranks, of the slowest: all begin together.
double seconds_of_one(const Subject& subject) {
  if (subject.on_host()) std::ranges::fill(subject.values, 1.0F);
  subject.host.barrier();
  const auto start = Clock::now();
  subject.comm.all_reduce(subject.values.data(), static_cast<std::int64_t>(subject.values.size()),
                          DType::Float32, ReduceOp::Sum);
  double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  subject.host.all_reduce(&seconds, 1, DType::Float64, ReduceOp::Max);
  return seconds;
}

void require_sums(const Subject& subject) {
  const auto expected = static_cast<float>(subject.comm.size());
  const auto is_wrong = [&](float value) { return value != expected; };
  if (!subject.on_host() || std::ranges::none_of(subject.values, is_wrong)) return;
  throw CommunicatorError{"all_reduce of " + std::to_string(subject.values.size_bytes()) +
                          " bytes gives a wrong sum"};
}

double median_seconds(const Subject& subject, std::int64_t repeats) {
  seconds_of_one(subject);
  std::vector<double> seconds;
  for (std::int64_t i = 0; i < repeats; ++i) seconds.push_back(seconds_of_one(subject));
  require_sums(subject);
  return median(std::move(seconds));
}

/// Source of the bus bandwidth: nccl-tests, which count what a ring sends and receives on each
/// rank.
nlohmann::ordered_json measure(const Subject& subject, std::int64_t repeats) {
  const double seconds = median_seconds(subject, repeats);
  const double gigabytes = static_cast<double>(subject.values.size_bytes()) * 1e-9;
  const double ranks = subject.comm.size();
  return {{"bytes", subject.values.size_bytes()},
          {"backend", subject.comm.backend()},
          {"memory", subject.memory},
          {"seconds", seconds},
          {"algorithm_gb_per_second", gigabytes / seconds},
          {"bus_gb_per_second", gigabytes / seconds * 2 * (ranks - 1) / ranks}};
}

/// On any memory, on the communicator's own where it has some, and on GPUs where the ranks have
/// them.
std::vector<nlohmann::ordered_json> measure_each_memory(Session& session, std::int64_t bytes,
                                                        std::int64_t repeats) {
  auto& host = session.communicator();
  const auto count = static_cast<std::size_t>(bytes) / sizeof(float);
  const auto floats = [&](const std::shared_ptr<std::byte>& memory) {
    return std::span{reinterpret_cast<float*>(memory.get()), count};
  };
  std::vector<nlohmann::ordered_json> results;
  {
    std::vector<float> values(count);
    results.push_back(measure({host, host, "any", values}, repeats));
  }
  if (const auto memory = host.allocate(bytes); memory != nullptr) {
    results.push_back(measure({host, host, "own", floats(memory)}, repeats));
  }
  if (auto& comm = session.device_communicator(); &comm != &host) {
    const auto memory = session.device().allocate(bytes);
    results.push_back(measure({comm, host, "device", floats(memory)}, repeats));
  }
  return results;
}

std::string line_of(const nlohmann::ordered_json& result) {
  char line[128];
  std::snprintf(line, sizeof line,
                "%12lld bytes  %s %12.1f us  algorithm %7.2f GB/s  bus %7.2f GB/s\n",
                static_cast<long long>(result["bytes"].get<std::int64_t>()),
                (result["memory"].get<std::string>() + " memory").c_str(),
                result["seconds"].get<double>() * 1e6,
                result["algorithm_gb_per_second"].get<double>(),
                result["bus_gb_per_second"].get<double>());
  return line;
}

/// Sums of each size; as lines at once, unless all is to be JSON.
nlohmann::ordered_json measure_each_size(Session& session, const BenchAllreduceOptions& options) {
  auto results = nlohmann::ordered_json::array();
  for (auto bytes = options.min_bytes; bytes <= options.max_bytes; bytes *= 4) {
    for (const auto& result : measure_each_memory(session, bytes, options.repeats)) {
      results.push_back(result);
      if (!options.json) session.screen().print(line_of(result));
    }
  }
  return results;
}

}  // namespace

void BenchAllreduceOptions::bind(OptionRegistry& registry) {
  auto what = registry.group("Measurement");
  what.add("min_bytes", &min_bytes,
           "The smallest buffer, a multiple of 4; each next one is four times as large.",
           at_least(4));
  what.add("max_bytes", &max_bytes, "No buffer is larger.", at_least(4));
  what.add("repeats", &repeats, "Measured for each size, after one that is not; the median counts.",
           at_least(1));
  what.add("ddp_backend", &ddp_backend, "How ranks communicate: auto, mpi, nccl.");
  what.add("use_cpu", &use_cpu, "Leave GPUs alone also where there are some.");
  watch.bind(what);
  what.add("json", &json, "JSON to standard output.");
}

void BenchAllreduceOptions::validate() const {
  const std::int64_t rest = min_bytes % static_cast<std::int64_t>(sizeof(float));
  if (rest != 0) {
    throw ConfigError{"min_bytes must be a multiple of 4, the bytes of a float32, got " +
                      std::to_string(min_bytes) + ". Give --min_bytes " +
                      std::to_string(min_bytes - rest)};
  }
  if (max_bytes < min_bytes) {
    throw ConfigError{"max_bytes is below min_bytes, " + std::to_string(max_bytes) + " below " +
                      std::to_string(min_bytes) +
                      ": there is nothing to measure. Give a larger --max_bytes, or --min_bytes too"};
  }
}

int bench_allreduce(const CommandContext& context, const BenchAllreduceOptions& options) {
  options.validate();
  Session session{{.use_cpu = options.use_cpu,
                   .ddp_backend = options.ddp_backend,
                   .watch = options.watch,
                   .watch_signals = false},
                  context.environment,
                  context.screen};
  return session.run([&] {
    if (!options.json) session.screen().print(session.describe() + '\n');
    if (session.size() == 1) session.log().warning(kOneRankNote);
    const auto results = measure_each_size(session, options);
    if (options.json) {
      const auto& comm = session.communicator();
      const nlohmann::ordered_json report{{"backend", comm.backend()},
                                          {"ranks", comm.size()},
                                          {"dtype", "float32"},
                                          {"results", results}};
      session.screen().print(report.dump(2) + '\n');
    }
    return 0;
  });
}

int run_bench_allreduce(const CommandContext& context, Arguments arguments) {
  BenchAllreduceOptions options;
  OptionRegistry registry{"hone bench allreduce",
                          "Measures how fast the ranks of a job sum buffers."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  return bench_allreduce(context, options);
}

}  // namespace hone::launcher

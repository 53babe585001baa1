#pragma once

#include <cstdint>
#include <string>

#include "hone/launcher/commands.hpp"
#include "hone/launcher/session.hpp"

namespace hone::launcher {

/// What `hone bench allreduce` takes, and `hone bench` where no operation is named.
struct BenchAllreduceOptions {
  std::int64_t min_bytes = std::int64_t{4} << 10;
  std::int64_t max_bytes = std::int64_t{1} << 30;
  std::int64_t repeats = 5;
  std::string ddp_backend = "auto";
  bool use_cpu = false;
  WatchOptions watch;
  bool json = false;

  void bind(OptionRegistry& registry);
  /// Throws: ConfigError.
  void validate() const;
};

/// Measures sums over the ranks of a job, whose exit code it returns.
int bench_allreduce(const CommandContext& context, const BenchAllreduceOptions& options);

/// `hone bench allreduce`: how fast the ranks sum buffers.
int run_bench_allreduce(const CommandContext& context, Arguments arguments);

}  // namespace hone::launcher

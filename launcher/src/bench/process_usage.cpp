#include "bench/process_usage.hpp"

#include <sys/resource.h>

namespace hone::launcher {
namespace {

rusage usage_of_this_process() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage;
}

}  // namespace

std::int64_t peak_memory() {
  return static_cast<std::int64_t>(usage_of_this_process().ru_maxrss) * 1024;
}

std::int64_t page_faults() { return usage_of_this_process().ru_minflt; }

}  // namespace hone::launcher

#include "bench/page_faults.hpp"

#include <sys/resource.h>

namespace hone::launcher {

std::int64_t page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

}  // namespace hone::launcher

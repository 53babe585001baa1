#include "hone/launcher/thread_plan.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

namespace hone::launcher {
namespace {

bool overlap(const CpuList& a, const CpuList& b) {
  CpuList common;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(common));
  return !common.empty();
}

/// This rank's part of the CPUs that it may use.
int fair_share(const ThreadPlanInputs& inputs) {
  const CpuList& mask = inputs.masks[inputs.mine];
  const auto sharers = std::count_if(inputs.masks.begin(), inputs.masks.end(),
                                     [&](const CpuList& other) { return overlap(mask, other); });
  auto share = static_cast<double>(mask.size()) / static_cast<double>(std::max(sharers, 1L));
  if (inputs.quota) {
    share = std::min(share, *inputs.quota / static_cast<double>(inputs.masks.size()));
  }
  return std::max(1, static_cast<int>(std::floor(share)));
}

/// Whole cores go to one rank: `by_core` is cut into as many parts as there are ranks.
CpuList own_part(const ThreadPlanInputs& inputs, int num_threads, int share) {
  const auto& masks = inputs.masks;
  const bool same = std::all_of(masks.begin(), masks.end(),
                                [&](const CpuList& mask) { return mask == masks.front(); });
  const std::size_t count = inputs.by_core.size();
  if (!same || inputs.quota || masks.size() < 2 || num_threads > share || count < masks.size()) {
    return {};
  }
  const auto begin = static_cast<std::ptrdiff_t>(inputs.mine * count / masks.size());
  const auto end = static_cast<std::ptrdiff_t>((inputs.mine + 1) * count / masks.size());
  CpuList part{inputs.by_core.begin() + begin, inputs.by_core.begin() + end};
  std::sort(part.begin(), part.end());
  return part;
}

std::size_t idle_cpus(const ThreadPlanInputs& inputs) {
  std::set<int> idle{inputs.available.begin(), inputs.available.end()};
  for (const CpuList& mask : inputs.masks) {
    for (const int cpu : mask) idle.erase(cpu);
  }
  return idle.size();
}

std::string warning_for(const ThreadPlanInputs& inputs, int num_threads, int share) {
  const CpuList& mask = inputs.masks[inputs.mine];
  const std::size_t idle = idle_cpus(inputs);
  if (mask.size() == 1 && idle > 0) {
    return "every rank is bound to one core while " + std::to_string(idle) +
           " more are idle. Start with: mpirun --bind-to none ... (or srun --cpus-per-task N ...)";
  }
  if (num_threads > share) {
    return std::to_string(num_threads) + " threads in each of " +
           std::to_string(inputs.masks.size()) + " ranks are more than the " +
           std::to_string(share) + " that each rank has cores for: expect a slow run. Unset " +
           "OMP_NUM_THREADS, or lower it";
  }
  return {};
}

}  // namespace

ThreadPlan plan_threads(const ThreadPlanInputs& inputs) {
  const int share = fair_share(inputs);
  const auto asked = inputs.requested ? inputs.requested : inputs.omp_num_threads;
  const int num_threads = asked && *asked > 0 ? static_cast<int>(*asked) : share;
  return {.num_threads = num_threads,
          .cpus = own_part(inputs, num_threads, share),
          .warning = warning_for(inputs, num_threads, share)};
}

}  // namespace hone::launcher

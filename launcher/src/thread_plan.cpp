#include "hone/launcher/thread_plan.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>
#include <span>

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

CpuList joined(std::span<const CpuList> lists) {
  CpuList all;
  for (const auto& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

/// Part `mine` of `units` cut into `parts`, the first ones the smaller.
template <typename Unit>
std::span<const Unit> part_of(const std::vector<Unit>& units, std::size_t mine, std::size_t parts) {
  const std::size_t begin = mine * units.size() / parts;
  return std::span{units}.subspan(begin, (mine + 1) * units.size() / parts - begin);
}

/// The cores are cut into as many parts as there are ranks; hardware threads only where there are
/// fewer cores than ranks.
CpuList own_part(const ThreadPlanInputs& inputs, int num_threads, int share) {
  const auto& masks = inputs.masks;
  const bool same = std::all_of(masks.begin(), masks.end(),
                                [&](const CpuList& mask) { return mask == masks.front(); });
  const CpuList cpus = joined(inputs.cores);
  if (!same || inputs.quota || masks.size() < 2 || num_threads > share || cpus.size() < masks.size()) {
    return {};
  }
  CpuList part;
  if (inputs.cores.size() >= masks.size()) {
    part = joined(part_of(inputs.cores, inputs.mine, masks.size()));
  } else {
    const auto threads = part_of(cpus, inputs.mine, masks.size());
    part.assign(threads.begin(), threads.end());
  }
  std::sort(part.begin(), part.end());
  return part;
}

std::set<int> used_cpus(const ThreadPlanInputs& inputs) {
  std::set<int> used;
  for (const CpuList& mask : inputs.masks) used.insert(mask.begin(), mask.end());
  return used;
}

std::size_t idle_cpus(const ThreadPlanInputs& inputs, const std::set<int>& used) {
  return static_cast<std::size_t>(std::count_if(inputs.available.begin(), inputs.available.end(),
                                                [&](int cpu) { return !used.contains(cpu); }));
}

std::string warning_for(const ThreadPlanInputs& inputs, int num_threads, int share) {
  const CpuList& mask = inputs.masks[inputs.mine];
  const auto used = used_cpus(inputs);
  const std::size_t idle = idle_cpus(inputs, used);
  // One core may have several hardware threads: what is idle would then be as much again for each.
  if (idle > 0 && (mask.size() == 1 || idle >= used.size())) {
    return "every rank is bound to " +
           (mask.size() == 1 ? "one core" : std::to_string(mask.size()) + " CPUs") + " while " +
           std::to_string(idle) +
           " more are idle. Start with: mpirun --bind-to none ... (or srun --cpus-per-task N ...)";
  }
  const auto other = std::find_if(inputs.masks.begin(), inputs.masks.end(), [&](const CpuList& theirs) {
    return theirs != mask && overlap(theirs, mask);
  });
  if (other != inputs.masks.end()) {
    return "the CPUs of this rank (" + print_cpus(mask) + ") and of another on this machine (" +
           print_cpus(*other) + ") overlap in part: they will wait for each other. Start with: " +
           "mpirun --bind-to none ..., or give each rank CPUs of its own";
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

void ThreadPlanInputs::take_masks(const std::vector<std::string>& machines_of_ranks,
                                  const std::vector<std::string>& masks_of_ranks,
                                  std::size_t rank) {
  masks.clear();
  for (std::size_t i = 0; i < machines_of_ranks.size(); ++i) {
    if (machines_of_ranks[i] != machines_of_ranks[rank]) continue;
    if (i == rank) mine = masks.size();
    masks.push_back(parse_cpus(masks_of_ranks[i]));
  }
}

ThreadPlan plan_threads(const ThreadPlanInputs& inputs) {
  const int share = fair_share(inputs);
  const auto asked = inputs.requested ? inputs.requested : inputs.omp_num_threads;
  const int num_threads = asked && *asked > 0 ? static_cast<int>(*asked) : share;
  return {.num_threads = num_threads,
          .cpus = own_part(inputs, num_threads, share),
          .warning = warning_for(inputs, num_threads, share)};
}

}  // namespace hone::launcher

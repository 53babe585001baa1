#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hone/launcher/cpu_topology.hpp"

namespace hone::launcher {

/// What the number of compute threads of a rank follows from.
struct ThreadPlanInputs {
  std::vector<CpuList> masks;  ///< of the ranks on this machine, this one's among them
  std::size_t mine = 0;        ///< index in `masks`
  CpuList available;           ///< what the launcher itself could use
  std::optional<double> quota; ///< CPUs' worth of time for all ranks on this machine together
  std::optional<std::int64_t> omp_num_threads;
  std::optional<std::int64_t> requested;  ///< the num_threads option: wins over all
  std::vector<CpuList> cores;  ///< this rank's mask by core, neighbours side by side; empty: do not bind

  /// Sets `masks` and `mine` for `rank` from what all ranks said of the machine that they are on, and
  /// of the CPUs that they may use there (as print_cpus() prints them).
  void take_masks(const std::vector<std::string>& machines_of_ranks,
                  const std::vector<std::string>& masks_of_ranks, std::size_t rank);
};

struct ThreadPlan {
  int num_threads = 1;
  CpuList cpus;         ///< to bind this rank to; empty: leave it as it is
  std::string warning;  ///< empty where nothing is odd
};

/// Threads of this rank: what was requested, else OMP_NUM_THREADS, else its CPUs shared fairly with
/// the ranks that may run on the same ones. At least 1. Ranks that were all left on the same CPUs
/// are bound to neighbouring parts of them by their order on the machine; what the launcher has
/// bound, or a quota shares out, stays.
ThreadPlan plan_threads(const ThreadPlanInputs& inputs);

}  // namespace hone::launcher

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace hone::launcher {

enum class StartedBy { Hand, Mpirun, Srun };

/// The value of an environment variable, or none where it is not set.
using VariableReader = std::function<std::optional<std::string>(const char* name)>;

/// Reads this process's own environment.
std::optional<std::string> process_variable(const char* name);

/// What the environment says about this start, before MPI runs: good for checks and messages, never
/// for logic once MPI can be asked. Read once, at the start of the program.
struct LaunchEnvironment {
  StartedBy started_by = StartedBy::Hand;
  int rank = 0;          ///< as the launcher numbers it
  int size = 1;          ///< processes that the launcher was asked for
  int slurm_tasks = 0;   ///< tasks of the Slurm job around; 0 without one
  bool has_pmix = false; ///< mpirun or srun told this process how to find its peers
  std::optional<std::int64_t> omp_num_threads;
  bool no_color = false;

  static LaunchEnvironment read(const VariableReader& variable = process_variable);
};

/// Throws: LaunchError where srun started this process without PMIx, so that MPI_Init would end it.
void require_pmix(const LaunchEnvironment& environment);

/// A warning where several processes were meant and MPI knows of one only; else empty.
std::string lone_process_warning(const LaunchEnvironment& environment, int world_size);

}  // namespace hone::launcher

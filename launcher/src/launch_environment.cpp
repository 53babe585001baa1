#include "hone/launcher/launch_environment.hpp"

#include <charconv>
#include <cstdlib>
#include <initializer_list>

#include "hone/core/error.hpp"

namespace hone::launcher {
namespace {

std::optional<std::int64_t> parse_whole(const std::optional<std::string>& text) {
  std::int64_t value = 0;
  if (!text) return std::nullopt;
  const char* last = text->data() + text->size();
  const auto [end, error] = std::from_chars(text->data(), last, value);
  // OMP_NUM_THREADS may be a list by nesting level: its first number counts.
  const bool whole = error == std::errc{} && (end == last || *end == ',');
  return whole ? std::optional{value} : std::nullopt;
}

int first_number(const VariableReader& variable, std::initializer_list<const char*> names,
                 int otherwise) {
  for (const char* name : names) {
    if (const auto value = parse_whole(variable(name))) return static_cast<int>(*value);
  }
  return otherwise;
}

}  // namespace

std::optional<std::string> process_variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? std::optional<std::string>{value} : std::nullopt;
}

LaunchEnvironment LaunchEnvironment::read(const VariableReader& variable) {
  LaunchEnvironment environment;
  const bool mpirun = variable("OMPI_COMM_WORLD_SIZE").has_value();
  const bool step = variable("SLURM_STEP_ID").has_value();
  if (mpirun) {
    environment.started_by = StartedBy::Mpirun;
    environment.size = first_number(variable, {"OMPI_COMM_WORLD_SIZE"}, 1);
  } else if (step) {
    environment.started_by = StartedBy::Srun;
    environment.size = first_number(variable, {"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}, 1);
  }
  if (mpirun || step) {
    environment.rank =
        first_number(variable, {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"}, 0);
  }
  environment.slurm_tasks = first_number(variable, {"SLURM_NTASKS"}, 0);
  environment.has_pmix = mpirun || variable("PMIX_RANK").has_value();
  environment.omp_num_threads = parse_whole(variable("OMP_NUM_THREADS"));
  environment.no_color = !variable("NO_COLOR").value_or("").empty();
  return environment;
}

void require_pmix(const LaunchEnvironment& environment) {
  if (environment.started_by != StartedBy::Srun || environment.has_pmix) return;
  throw LaunchError{
      "started by srun without PMIx, so ranks cannot find each other. Use: srun --mpi=pmix ... (what "
      "this Slurm has: srun --mpi=list)"};
}

std::string lone_process_warning(const LaunchEnvironment& environment, int world_size) {
  if (world_size != 1) return {};
  const bool chosen = environment.started_by == StartedBy::Mpirun && environment.size == 1;
  const int meant = environment.started_by == StartedBy::Hand ? environment.slurm_tasks
                                                              : environment.size;
  if (chosen || meant <= 1) return {};
  return std::to_string(meant) + " processes were asked for, but this one runs alone, as a job of " +
         "one rank. Start it with: mpirun --bind-to none -np " + std::to_string(meant) +
         " hone ..., or: srun --mpi=pmix hone ...";
}

}  // namespace hone::launcher

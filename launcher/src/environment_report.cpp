#include "environment_report.hpp"

#include <hdf5.h>
#include <mpi.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "hone/core/error.hpp"
#include "hone/distributed/nccl_api.hpp"
#include "hone/launcher/cpu_topology.hpp"
#include "torch_version.hpp"

// POSIX leaves its declaration to the program.
extern char** environ;

namespace hone::launcher {
namespace {

using nlohmann::ordered_json;

std::string mpi_library() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);  // allowed before MPI_Init
  const std::string whole(text.data(), static_cast<std::size_t>(length));
  return whole.substr(0, whole.find_first_of(",\n"));
}

ordered_json hdf5_library() {
  unsigned major = 0, minor = 0, release = 0;
  hbool_t threadsafe = false;
  H5get_libversion(&major, &minor, &release);
  H5is_library_threadsafe(&threadsafe);
  return {{"version", std::to_string(major) + '.' + std::to_string(minor) + '.' +
                          std::to_string(release)},
          {"thread_safe", threadsafe != 0}};
}

/// The NCCL that a job would find here; null where there is none, or none that serves.
ordered_json nccl_library() {
  try {
    return distributed::load_nccl("libnccl.so.2").version;
  } catch (const LaunchError&) {
    return nullptr;
  }
}

std::string started_by(const LaunchEnvironment& environment) {
  switch (environment.started_by) {
    case StartedBy::Mpirun: return "mpirun";
    case StartedBy::Srun: return environment.has_pmix ? "srun --mpi=pmix" : "srun without PMIx";
    case StartedBy::Hand: break;
  }
  return "hand";
}

/// Variables that change how a job runs; others may be secrets.
bool is_relevant(std::string_view name) {
  static constexpr std::array<std::string_view, 10> kPrefixes{
      "HONE_", "OMP_", "KMP_", "GOMP_", "MKL_", "OMPI_MCA_", "NCCL_", "CUDA_", "SLURM_JOB_", "UCX_"};
  static constexpr std::array<std::string_view, 12> kNames{
      "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK",      "PMIX_RANK", "SLURM_STEP_ID",
      "SLURM_NTASKS",         "SLURM_CPUS_PER_TASK",       "NO_COLOR",  "HF_HOME",
      "SLURM_RESTART_COUNT",  "TENSORBOARD_LOGGING_DIR",   "LD_PRELOAD", "MALLOC_ARENA_MAX"};
  const auto starts = [name](std::string_view prefix) { return name.starts_with(prefix); };
  return std::any_of(kPrefixes.begin(), kPrefixes.end(), starts) ||
         std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

ordered_json relevant_variables() {
  std::vector<std::pair<std::string, std::string>> found;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text{*entry};
    const auto equals = text.find('=');
    const auto name = text.substr(0, equals);
    if (equals == std::string_view::npos || !is_relevant(name)) continue;
    found.emplace_back(name, text.substr(equals + 1));
  }
  std::sort(found.begin(), found.end());
  ordered_json variables = ordered_json::object();
  for (const auto& [name, value] : found) variables[name] = value;
  return variables;
}

ordered_json machine_section() {
  const MachineDescription machine = describe_machine();
  ordered_json section{{"cpu", machine.cpu_model},
                       {"cores_online", machine.online_cpus},
                       {"cores_of_this_process", print_cpus(affinity_of_this_process())},
                       {"cpu_quota", nullptr},
                       {"memory_gb", static_cast<double>(machine.memory_bytes / 100'000'000) / 10},
                       {"nvidia_driver", machine.has_nvidia_driver}};
  if (const auto quota = cpu_quota()) section["cpu_quota"] = *quota;
  return section;
}

}  // namespace

ordered_json environment_report(const LaunchEnvironment& environment) {
  return {{"versions",
           {{"hone", HONE_VERSION},
            {"torch", torch_version()},
            {"mpi", mpi_library()},
            {"hdf5", hdf5_library()},
            {"nccl", nccl_library()},
            {"compiler", "g++ " __VERSION__}}},
          {"start",
           {{"started_by", started_by(environment)},
            {"pmix", environment.has_pmix},
            {"ranks", environment.size},
            {"rank", environment.rank}}},
          {"machine", machine_section()},
          {"environment", relevant_variables()}};
}

}  // namespace hone::launcher

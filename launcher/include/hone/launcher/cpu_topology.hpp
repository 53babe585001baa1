#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hone::launcher {

/// Numbers of logical CPUs, ascending.
using CpuList = std::vector<int>;

/// The CPUs that this process may run on, as the kernel has it.
CpuList affinity_of_this_process();
/// The same of the process that started this one: what the launcher had to give.
CpuList affinity_of_parent();

/// The CPUs of each core, in the order of packages and cores.
std::vector<CpuList> by_core(const CpuList& cpus);

/// Binds the calling thread, and what it starts from now on. False where the kernel refuses.
bool bind_this_thread(const CpuList& cpus);

/// CPUs' worth of time that the control group around may use; none without a limit.
std::optional<double> cpu_quota();

struct MachineDescription {
  std::string cpu_model;
  int online_cpus = 0;
  std::int64_t memory_bytes = 0;
  bool has_nvidia_driver = false;
};
MachineDescription describe_machine();

/// "0-3,8": and back. The text is never foreign: only these two functions write and read it.
std::string print_cpus(const CpuList& cpus);
CpuList parse_cpus(const std::string& text);

}  // namespace hone::launcher

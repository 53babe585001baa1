#include "hone/launcher/cpu_topology.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>

namespace hone::launcher {
namespace {

CpuList affinity_of(pid_t process) {
  CpuList cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(process, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

/// What stands behind "name :" in a file of /proc.
std::string proc_value(const char* path, std::string_view name) {
  std::ifstream file{path};
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(name)) continue;
    const auto begin = line.find_first_not_of(" \t", line.find(':') + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return {};
}

}  // namespace

std::vector<CpuList> by_core(const CpuList& cpus) {
  std::map<std::pair<int, int>, CpuList> cores;  // by package and core
  for (const int cpu : cpus) {
    int package = 0, core = cpu;  // where the kernel does not tell, each CPU is a core
    const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::ifstream{topology + "physical_package_id"} >> package;
    std::ifstream{topology + "core_id"} >> core;
    cores[{package, core}].push_back(cpu);
  }
  std::vector<CpuList> lists;
  for (auto& [place, list] : cores) lists.push_back(std::move(list));
  return lists;
}

bool bind_this_thread(const CpuList& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(static_cast<std::size_t>(cpu), &set);
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

CpuList affinity_of_this_process() { return affinity_of(0); }

CpuList affinity_of_parent() { return affinity_of(getppid()); }

std::optional<double> cpu_quota() {
  double quota = 0, period = 0;
  // Control groups version 2, then 1; "max" and -1 mean no limit.
  if (std::ifstream file{"/sys/fs/cgroup/cpu.max"}; file >> quota >> period && period > 0) {
    return quota / period;
  }
  std::ifstream quota_file{"/sys/fs/cgroup/cpu/cpu.cfs_quota_us"};
  std::ifstream period_file{"/sys/fs/cgroup/cpu/cpu.cfs_period_us"};
  if (quota_file >> quota && period_file >> period && quota > 0 && period > 0) {
    return quota / period;
  }
  return std::nullopt;
}

MachineDescription describe_machine() {
  MachineDescription machine;
  machine.cpu_model = proc_value("/proc/cpuinfo", "model name");
  machine.online_cpus = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  machine.memory_bytes = static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) *
                         static_cast<std::int64_t>(sysconf(_SC_PAGESIZE));
  std::error_code ignored;
  machine.has_nvidia_driver = std::filesystem::exists("/proc/driver/nvidia/version", ignored);
  return machine;
}

std::string print_cpus(const CpuList& cpus) {
  std::string text;
  for (std::size_t i = 0; i < cpus.size();) {
    std::size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
    text += (text.empty() ? "" : ",") + std::to_string(cpus[i]);
    if (last > i) text += '-' + std::to_string(cpus[last]);
    i = last + 1;
  }
  return text;
}

CpuList parse_cpus(const std::string& text) {
  CpuList cpus;
  std::istringstream parts{text};
  for (std::string part; std::getline(parts, part, ',');) {
    const auto dash = part.find('-');
    const int first = std::stoi(part.substr(0, dash));
    const int last = dash == std::string::npos ? first : std::stoi(part.substr(dash + 1));
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

}  // namespace hone::launcher

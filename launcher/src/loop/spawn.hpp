#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "worker_process.hpp"

namespace hone::launcher {

/// A started child and our ends of its pipes.
struct SpawnedChild {
  pid_t pid = -1;
  FileDescriptor stdin_writer;
  FileDescriptor stdout_reader;
  FileDescriptor stderr_reader;
};

/// Starts argv as WorkerProcess describes. Its environment is ours without the variables by which
/// MPI launchers number their ranks (a reward program that itself uses MPI would believe that it is
/// one), plus PYTHONUNBUFFERED=1 (Python's print holds lines back on a pipe otherwise).
/// Throws: ConfigError where the program is not found; LaunchError where it cannot be started.
SpawnedChild spawn(const std::vector<std::string>& argv);

}  // namespace hone::launcher

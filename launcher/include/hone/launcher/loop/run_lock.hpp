#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "hone/core/logger.hpp"
#include "hone/core/files/file_descriptor.hpp"

namespace hone::launcher {

/// The claim of one run on its directory: a lock on <directory>/.lock, which names its owner. The
/// kernel frees it when the process ends, however it ends; the file stays.
class RunLock {
 public:
  /// Throws: Error with ExitCode::RunHeld that names the owner where another process has it; Error
  /// with ExitCode::Io. A file system that knows no locks is a warning, and no lock.
  RunLock(const std::filesystem::path& directory, Logger& logger);

  /// "pid 12 on node3": this process, as a lock of its own names it.
  static std::string owner_name();
  /// Whether a run has the directory now whose lock names another owner than `own`.
  static bool is_held_by_other(const std::filesystem::path& directory, std::string_view own);

 private:
  FileDescriptor file_;
};

}  // namespace hone::launcher

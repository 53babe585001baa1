#pragma once

#include <filesystem>

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

  /// Whether a run has the directory now.
  static bool is_held(const std::filesystem::path& directory) noexcept;

 private:
  FileDescriptor file_;
};

}  // namespace hone::launcher

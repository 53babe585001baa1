#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "hone/core/logger.hpp"
#include "hone/core/files/file_descriptor.hpp"

namespace hone::launcher {

/// metrics.jsonl: one JSON object a line, appended and visible at once; durable with the next
/// checkpoint, whose store syncs it (StoreOptions::log_file). A log that cannot be written is a
/// warning, never the end of the training.
/// Thread-safety: one thread at a time.
class MetricsLog {
 public:
  MetricsLog(std::filesystem::path path, Logger& logger);

  /// Appends one line. `json_object` has no line end in it. Never throws: the first failure is a
  /// warning, and what was written of the line is taken back.
  void append(std::string_view json_object) noexcept;

  /// Drops what a run that is resumed at (step, round) will write again: records whose "step" lies
  /// beyond, of kind "round" also those whose "round" does, and lines cut short by a kill. A file
  /// that is not there is fine.
  /// Throws: Error (Io, or RunHeld without space); the file is then as it was.
  void discard_after(std::int64_t step, std::int64_t round);

 private:
  int try_append(std::string_view json_object);

  std::filesystem::path path_;
  Logger& logger_;
  FileDescriptor file_;  ///< opened by the first append
  bool has_warned_ = false;
};

}  // namespace hone::launcher

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace hone::launcher {

/// How a rank left; scripts decide from these files, since launchers mix up exit codes.
struct ExitRecord {
  int code = 0;
  std::string reason;     ///< "finished", "stopped" or the error's message
  std::int64_t step = 0;  ///< optimizer updates that were applied
};

/// Writes `<output_dir>/exit/rank-N.json` {"code", "reason", "step"} aside and renames it.
/// False, with nothing else changed, where that is not possible: leaving goes on regardless.
bool write_exit_record(const std::filesystem::path& output_dir, int rank,
                       const ExitRecord& record) noexcept;

/// Removes what an earlier start left: the record of this rank and, on rank 0, those of ranks that
/// a job of `num_ranks` does not have.
void remove_old_exit_records(const std::filesystem::path& output_dir, int rank,
                             int num_ranks) noexcept;

}  // namespace hone::launcher

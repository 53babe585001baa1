#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "hone/checkpoints/file_ops.hpp"
#include "rank_file.hpp"

namespace hone::checkpoints::detail {

/// By notes in the temporary folder the ranks tell rank 0 that their files are on the disk, and what
/// is in them, from their writers' threads: no collective, so that training is not in it.

/// The text of a note of the rank whose file is `file`. Throws: InputError.
RankContribution parse_note(const std::string& text, const std::string& file);

/// The note appears whole or not at all. Throws: CheckpointError.
void leave_note(FileOps& files, const std::filesystem::path& folder, int rank, int num_ranks,
                const RankContribution& contribution);

/// Reads a rank's note and removes it; none where it is not there yet. Throws: CheckpointError.
std::optional<RankContribution> take_note(FileOps& files, const std::filesystem::path& folder,
                                          int rank, int num_ranks);

}  // namespace hone::checkpoints::detail

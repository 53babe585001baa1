#pragma once

#include <filesystem>

namespace hone::launcher {

/// Refuses what is neither a checkpoint nor a run directory with some.
/// Throws: MissingInputError where it is no folder, else InputError.
void require_checkpoint_folder(const std::filesystem::path& folder);

/// As above, or with nothing but what interrupted saves left: one of them may be put back.
void require_folder_to_repair(const std::filesystem::path& folder);

}  // namespace hone::launcher

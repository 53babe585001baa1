#pragma once

#include <filesystem>

namespace hone::launcher {

/// Refuses what is neither a checkpoint nor a run directory with some.
/// Throws: MissingInputError where it is no folder, else InputError.
void require_checkpoint_folder(const std::filesystem::path& folder);

}  // namespace hone::launcher

#pragma once

#include <filesystem>
#include <optional>

#include "hone/checkpoints/file_ops.hpp"
#include "manifest.hpp"

namespace hone::checkpoints::detail {

/// None where a file has more data sets than is sensible to lay out only to look. Else whether the
/// HDF5 structure of each rank's file, that is all but the tensors' bytes, is byte for byte what hone
/// lays out for the manifest's entries: then other HDF5 programs find these tensors there,
/// where the manifest has them, and nothing else. hone asks this of nobody it reads: it goes by the
/// manifest. No HDF5 library reads the files. False also where another version of that library wrote
/// them otherwise.
/// Throws: CheckpointError where a file cannot be read.
std::optional<bool> is_structure_as_laid_out(FileOps& files, const std::filesystem::path& checkpoint,
                                             const Manifest& manifest);

}  // namespace hone::checkpoints::detail

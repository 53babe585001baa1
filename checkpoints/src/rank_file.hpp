#pragma once

#include <filesystem>
#include <span>

#include "hone/checkpoints/file_ops.hpp"
#include "hone/core/checkpoint_store.hpp"
#include "manifest.hpp"

namespace hone::checkpoints::detail {

/// What one rank contributes to a checkpoint: its file and the tensors in it.
struct RankContribution {
  RankFileEntry file;
  std::vector<TensorEntry> tensors;
};

/// Writes and syncs the HDF5 file of one rank; it must not exist.
/// Throws: CheckpointError; the file is then worthless.
RankContribution write_rank_file(FileOps& files, const std::filesystem::path& folder,
                                 const std::string& name, std::span<const TensorBytes> tensors);

}  // namespace hone::checkpoints::detail

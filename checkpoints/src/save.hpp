#pragma once

#include <filesystem>
#include <string>

#include "hone/checkpoints/file_ops.hpp"
#include "hone/core/checkpoint_store.hpp"
#include "hone/core/communicator.hpp"
#include "manifest.hpp"

/// The steps of a save between creating the temporary folder and publishing it. All are collective
/// and throw CheckpointError on every rank alike.
namespace hone::checkpoints::detail {

/// Every rank can write its part, and all ranks were given the same step, names, dtypes, shapes and
/// state.
void require_agreed_content(Communicator& communicator, const CheckpointContent& content);

/// Each rank writes and syncs its share of the tensors into `folder`.
/// Returns: on every rank, the manifest without the other files.
Manifest write_rank_files(Communicator& communicator, FileOps& files,
                          const std::filesystem::path& folder, const CheckpointContent& content);

/// Rank 0 lets the caller add files, syncs them, and writes the manifest last.
void seal(Communicator& communicator, FileOps& files, const std::filesystem::path& folder,
          const CheckpointContent& content, Manifest manifest);

}  // namespace hone::checkpoints::detail

#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "hone/checkpoints/file_ops.hpp"
#include "hone/core/checkpoint_store.hpp"
#include "hone/core/communicator.hpp"
#include "manifest.hpp"

namespace hone::checkpoints::detail {

/// Rank 0 reads the manifest; every rank returns it. Collective.
/// Throws: CheckpointError on every rank; MissingInput where there is no such folder.
Manifest read_manifest_everywhere(Communicator& communicator, FileOps& files,
                                  const std::filesystem::path& checkpoint);

/// Why a checkpoint-<step> is not usable, in words; none where every byte matches its digest. The
/// ranks share the reading. Collective; the same answer everywhere.
std::optional<std::string> find_problem(Communicator& communicator, FileOps& files,
                                        const std::filesystem::path& checkpoint);

/// Fills the buffers by name and checks each digest; local to one rank.
/// Throws: CheckpointError that lists every tensor that is missing or has another shape or dtype,
/// before any buffer is touched; or names the first whose bytes do not match their digest.
void read_tensors(FileOps& files, const std::filesystem::path& checkpoint,
                  const Manifest& manifest, std::span<const TensorBytes> tensors);

}  // namespace hone::checkpoints::detail

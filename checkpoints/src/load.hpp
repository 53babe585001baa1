#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "file_io.hpp"
#include "hone/checkpoints/file_ops.hpp"
#include "hone/core/checkpoint_store.hpp"
#include "hone/core/communicator.hpp"
#include "manifest.hpp"

namespace hone::checkpoints::detail {

/// Rank 0 reads the manifest; every rank returns it. Collective.
/// Throws: CheckpointError on every rank; MissingInput where there is no such folder.
Manifest read_manifest_everywhere(Communicator& communicator, FileOps& files,
                                  const std::filesystem::path& checkpoint);

/// That the folder's name, the manifest and the lengths of the files fit together, as rank 0 sees
/// them; the others wait until they see the same. Collective. Throws: CheckpointError on every rank;
/// Environment where one does not see in `patience` what rank 0 does.
void require_plausible(Communicator& communicator, FileOps& files,
                       const std::filesystem::path& checkpoint, const Manifest& manifest,
                       std::chrono::milliseconds patience = kVisible);

/// Entries of tensors, by name and first element, all of which this rank has read and compared with
/// their digest.
using VerifiedEntries = std::set<std::pair<std::string, std::int64_t>>;

/// The first digest that does not match, in words, of all but what any rank has `verified`; none
/// where all match. The ranks share the reading. Collective; the same answer everywhere.
std::optional<std::string> problem_of_rest(Communicator& communicator, FileOps& files,
                                           const std::filesystem::path& checkpoint,
                                           const Manifest& manifest,
                                           const VerifiedEntries& verified);

/// Throws: CheckpointError that lists every tensor that is missing or has another shape or dtype.
void require_fit(const std::filesystem::path& checkpoint, const Manifest& manifest,
                 std::span<const TensorBytes> tensors);

/// Fills the buffers by name, checks each digest and adds to `verified`; local to one rank. Requires:
/// they fit.
/// Throws: CheckpointError that names the first tensor whose bytes do not match their digest.
void read_tensors(FileOps& files, const std::filesystem::path& checkpoint,
                  const Manifest& manifest, std::span<const TensorBytes> tensors,
                  VerifiedEntries& verified);

}  // namespace hone::checkpoints::detail

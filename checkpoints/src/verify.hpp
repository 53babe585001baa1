#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hdf5_layout.hpp"
#include "hone/checkpoints/file_ops.hpp"
#include "manifest.hpp"

namespace hone::checkpoints::detail {

/// Bytes that one digest of the manifest vouches for. All regions of a manifest together are every
/// byte of every file but the manifest, once.
struct DigestedRegion {
  std::string label;  ///< what it is to a reader: "tensor a/b", "the HDF5 structure"
  std::string file;
  std::vector<Range> ranges;
  std::string digest;

  std::int64_t bytes() const;
};

/// `is_left_out` of a tensor's entry, by its number in the manifest: no region for that. Empty: none.
std::vector<DigestedRegion> regions_of(const Manifest& manifest,
                                       std::span<const std::uint8_t> is_left_out = {});

/// Throws: CheckpointError (MissingInput) where there is no such folder.
void require_folder(FileOps& files, const std::filesystem::path& checkpoint);

/// Reads and parses the manifest of a checkpoint.
/// Throws: CheckpointError with the reason.
Manifest read_manifest(FileOps& files, const std::filesystem::path& checkpoint);

/// Whether a whole manifest is there, of a later version of the format than this program reads.
bool is_of_later_version(FileOps& files, const std::filesystem::path& checkpoint);

/// Why the files cannot be those of the manifest, by presence and length alone; none where they
/// can.
std::optional<std::string> length_problem(FileOps& files, const std::filesystem::path& checkpoint,
                                          const Manifest& manifest);

/// The same, and whether a folder checkpoint-<step> is of another step.
std::optional<std::string> plausibility_problem(FileOps& files,
                                                const std::filesystem::path& checkpoint,
                                                const Manifest& manifest);

/// The first region whose bytes are not those of its digest, in words; none where all are.
std::optional<std::string> digest_problem(FileOps& files, const std::filesystem::path& checkpoint,
                                          std::span<const DigestedRegion> regions);

}  // namespace hone::checkpoints::detail

#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hone/core/dtype.hpp"

namespace hone::checkpoints {

struct TensorSummary {
  std::string name;
  DType dtype = DType::Float32;
  std::vector<std::int64_t> shape;  ///< of the whole tensor
  std::int64_t bytes = 0;           ///< fewer than that: a piece, as where every rank has a part
  std::string file;                 ///< which of the folder's files holds it
  std::int64_t first = 0;           ///< element that a piece begins with

  bool is_piece() const;
};

/// What a checkpoint says about itself and whether that is true.
struct CheckpointSummary {
  std::filesystem::path path;
  std::int64_t step = 0;
  int world_size = 0;  ///< ranks that wrote it; any number can load it
  std::string hone_version;
  std::vector<TensorSummary> tensors;
  std::int64_t tensor_bytes = 0;
  std::string state_json;
  /// By inspect_checkpoint(), where all else is well and no file has more tensors than hone lays out
  /// only to look: whether the HDF5 files are structured as hone lays these tensors out. If not, other
  /// HDF5 programs may find other tensors in them, or be harmed; hone does not care, since it reads by
  /// the manifest. Another version of HDF5 may write them otherwise, too.
  std::optional<bool> structure_as_laid_out;
  /// Why the checkpoint is not usable; none where every byte was read and its digest matches. Where
  /// the manifest itself is bad the other fields are empty.
  std::optional<std::string> problem;

  bool verified() const { return !problem.has_value(); }
};

/// Reads the manifest and every file of one checkpoint; works without other ranks and changes
/// nothing.
/// Throws: CheckpointError (MissingInput) where there is no such folder.
CheckpointSummary verify_checkpoint(const std::filesystem::path& checkpoint);

/// And compares the structure of its HDF5 files.
CheckpointSummary inspect_checkpoint(const std::filesystem::path& checkpoint);

/// verify_checkpoint() by the manifest and the lengths of the files alone: `problem` is none where
/// these fit.
CheckpointSummary summarize_checkpoint(const std::filesystem::path& checkpoint);

/// The folders named checkpoint-<step> in a run directory, valid or not, newest first; empty where
/// the run directory does not exist.
/// Throws: CheckpointError (Io) where it cannot be listed.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& run_directory);

/// Of the newest of them, or of what an interrupted save has left renamed, which a start puts back.
/// Throws: as list_checkpoints().
std::optional<std::int64_t> newest_step(const std::filesystem::path& run_directory);

/// Why a start in the run directory would go on from none of these, whole or not: an owner that was
/// replaced published them too late, the run has left their branch, or they are of another run.
/// Throws: CheckpointError where the folder or its epochs cannot be read.
std::map<std::filesystem::path, std::string> passed_over_checkpoints(
    const std::filesystem::path& run_directory);

struct RepairReport {
  std::vector<std::string> done;  ///< a line each; empty where all was well
  bool any_whole = false;         ///< there is a checkpoint to go on from
};

/// Whether interrupted saves have left something in a run directory, which may be all that it holds.
/// Throws: CheckpointError where it cannot be read.
bool has_leftovers(const std::filesystem::path& run_directory);

/// Reads every checkpoint of a run directory and moves bad ones aside, puts back what an interrupted
/// save left renamed, and deletes what interrupted saves left half written. Where none is whole bad
/// ones stay, so that no start takes the run for a new one. No run may be at work there.
/// Throws: CheckpointError.
RepairReport repair_run_directory(const std::filesystem::path& run_directory);

}  // namespace hone::checkpoints

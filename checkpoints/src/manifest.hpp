#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hone/core/dtype.hpp"

namespace hone::checkpoints::detail {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::string_view kFormatName = "hone-checkpoint";
/// Raised when an older reader would misread the folder; see FORMAT.md.
inline constexpr int kFormatVersion = 3;
/// What a hostile one may make a reader hold is bounded by these.
inline constexpr std::int64_t kMaxManifestBytes = std::int64_t{24} << 20;
inline constexpr std::size_t kMaxTensors = 100'000;  ///< and pieces of tensors
inline constexpr std::size_t kMaxDimensions = 32;      ///< of a tensor: HDF5's
inline constexpr std::int64_t kMaxEpoch = 1'000'000'000;  ///< more than any run begins
inline constexpr std::size_t kMaxStateBytes = std::size_t{6} << 20;

/// One HDF5 file. `layout_digest` covers every byte of it that belongs to no tensor, in file order.
struct RankFileEntry {
  std::string file;
  std::int64_t bytes = 0;
  std::string layout_digest;
};

/// Where a tensor's bytes are, or those of a run of its elements: [offset, offset + bytes) of
/// `file`.
struct TensorEntry {
  std::string name;
  DType dtype = DType::Float32;
  std::vector<std::int64_t> shape;  ///< of the whole tensor
  std::string file;
  std::int64_t offset = 0;
  std::int64_t bytes = 0;
  std::string digest;
  std::int64_t first = 0;  ///< element of the tensor that they begin with

  bool is_piece() const;
};

/// A file for other programs (config.json ...), by its path inside the checkpoint.
struct OtherFileEntry {
  std::string file;
  std::int64_t bytes = 0;
  std::string digest;
};

/// A checkpoint among all that a run directory ever had.
struct Origin {
  std::int64_t epoch = 0;  ///< 0: from before there were epochs
  std::int64_t step = 0;
  std::string run = {};  ///< of all its epochs alike; empty: from before runs had names

  bool operator==(const Origin&) const = default;
};

/// The table of contents of a checkpoint, and what makes it one.
struct Manifest {
  std::string hone_version;
  std::int64_t step = 0;
  std::string run;  ///< as in Origin
  std::int64_t epoch = 0;
  std::optional<Origin> parent;  ///< what the epoch began from
  int world_size = 0;
  std::string state_json;
  std::vector<RankFileEntry> rank_files;  ///< one per rank, in rank order
  std::vector<TensorEntry> tensors;
  std::vector<OtherFileEntry> other_files;
};

/// "rank-00000-of-00002.h5".
std::string rank_file_name(int rank, int world_size);

/// Throws: CheckpointError, Usage, with what to do, where a manifest has no room for so many.
void require_room_for(std::int64_t num_entries);

/// The content of manifest.json: one entry a line, its own digest last. Throws: CheckpointError for
/// more than kMaxManifestBytes or kMaxTensors.
std::string write_manifest(const Manifest& manifest);

/// Reads what write_manifest() wrote, and believes nothing: digest, types, names, that every tensor
/// lies inside its file, that none overlap, that bytes fit shape and dtype.
/// Throws: CheckpointError with the reason, without a path.
Manifest parse_manifest(const std::string& text);

/// Whether `text` is a whole manifest of a version of the format that is to come.
bool is_of_later_version(const std::string& text);

/// That the entries of each tensor cover it, without gaps or overlaps, and agree on dtype and
/// shape.
/// Throws: CheckpointError.
void require_whole_tensors(const Manifest& manifest);

/// bytes = elements * size of dtype, or -1 where a size is negative or the product overflows.
std::int64_t bytes_of(const std::vector<std::int64_t>& shape, DType dtype);

}  // namespace hone::checkpoints::detail

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hone/core/dtype.hpp"

namespace hone::checkpoints::detail {

/// Half-open range of a file. Units: bytes.
struct Range {
  std::int64_t offset = 0;
  std::int64_t bytes = 0;
};

/// What the file of a rank has for a tensor, or for the run of its elements that begins with
/// `first`: a data set of its own.
struct DataSet {
  std::string name;  ///< below /tensors/
  DType dtype = DType::Float32;
  std::vector<std::int64_t> shape;
  std::int64_t bytes = 0;
};
DataSet whole_tensor(std::string name, DType dtype, std::vector<std::int64_t> shape);
DataSet piece_of_tensor(const std::string& name, DType dtype, std::int64_t first, std::int64_t bytes);

/// An HDF5 file that is complete except for the tensors' own bytes.
struct Hdf5Layout {
  struct Piece {
    std::int64_t offset = 0;
    std::vector<std::byte> bytes;
  };
  std::int64_t file_bytes = 0;
  std::vector<Range> tensors;  ///< where each data set's bytes go, in the order given
  std::vector<Piece> metadata; ///< everything else, ascending; with `tensors` it covers the file
};

/// True for the names that a checkpoint can hold: '/'-separated parts of letters, digits, '.', '_'
/// and '-' (none empty, "." or ".."), at most 256 characters.
bool is_valid_tensor_name(std::string_view name);

/// The ranges of a file that none of `taken` covers, ascending. Requires: `taken` lies inside the
/// file and does not overlap.
std::vector<Range> complement(std::vector<Range> taken, std::int64_t file_bytes);

/// Lays out one HDF5 file with contiguous data sets /tensors/<name>, each with a string attribute
/// "dtype". Nothing touches a disk: HDF5 works on memory and its image is written
/// by whoever asked, so that every write, and every failure to write, is hone's own.
/// Equal data sets give equal bytes (no times, no addresses).
/// Throws: CheckpointError with HDF5's own explanation, for instance where one tensor's name is a
/// folder of another's.
Hdf5Layout lay_out_hdf5(std::span<const DataSet> data_sets);

}  // namespace hone::checkpoints::detail

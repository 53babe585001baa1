#include "structure.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "file_io.hpp"
#include "hdf5_layout.hpp"
#include "hone/core/error.hpp"

namespace hone::checkpoints::detail {
namespace {

struct Expected {
  std::vector<DataSet> data_sets;
  std::vector<Range> places;  ///< of their bytes
};

/// By file, in the manifest's order, which is that of writing.
std::unordered_map<std::string, Expected> expected_files(const Manifest& manifest) {
  std::unordered_map<std::string, Expected> files;
  for (const auto& tensor : manifest.tensors) {
    auto& file = files[tensor.file];
    file.data_sets.push_back(
        tensor.is_piece() ? piece_of_tensor(tensor.name, tensor.dtype, tensor.first, tensor.bytes)
                          : whole_tensor(tensor.name, tensor.dtype, tensor.shape));
    file.places.push_back({tensor.offset, tensor.bytes});
  }
  return files;
}

bool holds(const File& file, const Hdf5Layout::Piece& piece) {
  std::vector<std::byte> found(piece.bytes.size());
  file.read_at(found, piece.offset);
  return found == piece.bytes;
}

bool is_as_laid_out(FileOps& files, const std::filesystem::path& path, std::int64_t bytes,
                    const Expected& expected) {
  Hdf5Layout layout;
  try {
    layout = lay_out_hdf5(expected.data_sets);
  } catch (const CheckpointError&) {
    return false;  // such entries hone never writes: one is a folder of another
  }
  const auto same_place = [](const Range& a, const Range& b) {
    return a.offset == b.offset && a.bytes == b.bytes;
  };
  if (layout.file_bytes != bytes ||
      !std::ranges::equal(layout.tensors, expected.places, same_place)) {
    return false;
  }
  const File file = File::open(files, path);
  return std::ranges::all_of(layout.metadata,
                             [&](const Hdf5Layout::Piece& piece) { return holds(file, piece); });
}

}  // namespace

bool is_structure_as_laid_out(FileOps& files, const std::filesystem::path& checkpoint,
                              const Manifest& manifest) {
  auto expected = expected_files(manifest);
  return std::ranges::all_of(manifest.rank_files, [&](const RankFileEntry& entry) {
    return is_as_laid_out(files, checkpoint / entry.file, entry.bytes, expected[entry.file]);
  });
}

}  // namespace hone::checkpoints::detail

#include "structure.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
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

/// In one file: HDF5 needs a kilobyte and more for each to lay it out.
constexpr std::ptrdiff_t kMostDataSets = 32'768;
/// Each piece is in a group of its own, and a rank has some thousand pieces. More are somebody's who
/// wants a reader to be busy.
constexpr std::int64_t kMostGroups = 32'768;

/// Folders of the data sets' names. In their order each adds those that it does not share with the
/// one before.
std::int64_t num_groups(std::span<const DataSet> data_sets) {
  std::vector<std::string_view> names;
  for (const auto& data_set : data_sets) names.emplace_back(data_set.name);
  std::ranges::sort(names);
  std::int64_t groups = 0;
  std::string_view before;
  for (const auto name : names) {
    const auto shared = std::ranges::mismatch(name, before).in1 - name.begin();
    groups += std::ranges::count(name.substr(static_cast<std::size_t>(shared)), '/');
    before = name;
  }
  return groups;
}

bool holds(const File& file, const Hdf5Layout::Piece& piece) {
  std::vector<std::byte> found(piece.bytes.size());
  file.read_at(found, piece.offset);
  return found == piece.bytes;
}

bool is_as_laid_out(FileOps& files, const std::filesystem::path& path, std::int64_t bytes,
                    const Expected& expected) {
  if (num_groups(expected.data_sets) > kMostGroups) return false;
  Hdf5Layout layout;
  try {
    layout = lay_out_hdf5(expected.data_sets);
  } catch (const CheckpointError& error) {
    if (error.exit_code() == ExitCode::OutOfMemory) throw;
    return false;  // what HDF5 refuses hone never wrote: one name is a folder of another
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

std::optional<bool> is_structure_as_laid_out(FileOps& files, const std::filesystem::path& checkpoint,
                                             const Manifest& manifest) {
  auto expected = expected_files(manifest);
  const auto is_too_many = [](const auto& file) { return std::ssize(file.second.data_sets) > kMostDataSets; };
  if (std::ranges::any_of(expected, is_too_many)) return std::nullopt;
  return std::ranges::all_of(manifest.rank_files, [&](const RankFileEntry& entry) {
    return is_as_laid_out(files, checkpoint / entry.file, entry.bytes, expected[entry.file]);
  });
}

}  // namespace hone::checkpoints::detail

#include "rank_file.hpp"

#include <algorithm>
#include <vector>

#include "digest.hpp"
#include "file_io.hpp"
#include "hdf5_layout.hpp"

namespace hone::checkpoints::detail {
namespace {

/// Hashes each chunk right before it is written, while it is in the cache.
std::string write_hashed(File& file, std::span<const std::byte> bytes, std::int64_t offset) {
  Digest digest;
  while (!bytes.empty()) {
    const auto chunk = bytes.first(std::min(bytes.size(), kChunkBytes));
    digest.update(chunk);
    file.write_at(chunk, offset);
    offset += static_cast<std::int64_t>(chunk.size());
    bytes = bytes.subspan(chunk.size());
  }
  return digest.finish();
}

std::string write_metadata(File& file, const std::vector<Hdf5Layout::Piece>& pieces) {
  Digest digest;
  for (const auto& piece : pieces) {
    digest.update(piece.bytes);
    file.write_at(piece.bytes, piece.offset);
  }
  return digest.finish();
}

DataSet data_set_of(const TensorBytes& tensor) {
  if (!tensor.is_piece()) return whole_tensor(tensor.name, tensor.dtype, tensor.shape);
  return piece_of_tensor(tensor.name, tensor.dtype, tensor.first,
                         static_cast<std::int64_t>(tensor.bytes.size()));
}

}  // namespace

RankContribution write_rank_file(FileOps& files, const std::filesystem::path& folder,
                                 const std::string& name, std::span<const TensorBytes> tensors) {
  std::vector<DataSet> data_sets;
  for (const auto& tensor : tensors) data_sets.push_back(data_set_of(tensor));
  const Hdf5Layout layout = lay_out_hdf5(data_sets);
  File file = File::create(files, folder / name);
  file.allocate(layout.file_bytes);
  RankContribution mine{{name, layout.file_bytes, write_metadata(file, layout.metadata)}, {}};
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto& tensor = tensors[i];
    const auto& range = layout.tensors[i];
    mine.tensors.push_back({tensor.name, tensor.dtype, tensor.shape, name, range.offset,
                            range.bytes, write_hashed(file, tensor.bytes, range.offset),
                            tensor.first});
  }
  file.sync();
  file.close();
  return mine;
}

}  // namespace hone::checkpoints::detail

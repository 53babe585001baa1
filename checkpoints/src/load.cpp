#include "load.hpp"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <vector>

#include "agreed.hpp"
#include "digest.hpp"
#include "file_io.hpp"
#include "placement.hpp"
#include "run_directory.hpp"
#include "verify.hpp"

namespace hone::checkpoints::detail {
namespace {

using TensorIndex = std::unordered_map<std::string_view, const TensorEntry*>;

std::string describe(DType dtype, const std::vector<std::int64_t>& shape) {
  std::string text{name_of(dtype)};
  text += '[';
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + ']';
}

/// One line for a tensor that cannot be loaded; empty where it can.
std::string misfit(const TensorIndex& index, const TensorBytes& wanted) {
  const auto found = index.find(wanted.name);
  if (found == index.end()) return "\n  " + wanted.name + ": not in the checkpoint";
  const auto& entry = *found->second;
  if (entry.dtype != wanted.dtype || entry.shape != wanted.shape) {
    return "\n  " + wanted.name + ": expected " + describe(wanted.dtype, wanted.shape) +
           ", the checkpoint has " + describe(entry.dtype, entry.shape);
  }
  if (entry.bytes != static_cast<std::int64_t>(wanted.bytes.size())) {
    return "\n  " + wanted.name + ": the buffer has " + std::to_string(wanted.bytes.size()) +
           " bytes, the tensor " + std::to_string(entry.bytes);
  }
  return {};
}

void require_fit(const std::filesystem::path& checkpoint, const TensorIndex& index,
                 std::span<const TensorBytes> tensors) {
  constexpr int kMostShown = 6;
  std::string misfits;
  int count = 0;
  for (const auto& tensor : tensors) {
    const auto problem = misfit(index, tensor);
    if (problem.empty() || ++count > kMostShown) continue;
    misfits += problem;
  }
  if (count == 0) return;
  if (count > kMostShown) misfits += "\n  and " + std::to_string(count - kMostShown) + " more";
  throw CheckpointError{checkpoint.string() + " does not fit what is being trained:" + misfits +
                        "\nResume with the model and the options that wrote it."};
}

void read_tensor(const File& file, const TensorEntry& entry, std::span<std::byte> buffer) {
  Digest digest;
  auto offset = entry.offset;
  while (!buffer.empty()) {
    const auto chunk = buffer.first(std::min(buffer.size(), kChunkBytes));
    file.read_at(chunk, offset);
    digest.update(chunk);
    offset += static_cast<std::int64_t>(chunk.size());
    buffer = buffer.subspan(chunk.size());
  }
  if (digest.finish() != entry.sha256) {
    throw CheckpointError{entry.file + ": tensor " + entry.name + " does not match its digest"};
  }
}

/// The part of the regions that this rank reads, about as many bytes as every other's.
std::vector<DigestedRegion> share_of(const Manifest& manifest, int rank, int num_ranks) {
  auto regions = regions_of(manifest);
  std::vector<std::int64_t> bytes;
  for (const auto& region : regions) bytes.push_back(region.bytes());
  const auto owners = assign_by_bytes(bytes, num_ranks);
  std::vector<DigestedRegion> mine;
  for (std::size_t i = 0; i < regions.size(); ++i) {
    if (owners[i] == rank) mine.push_back(std::move(regions[i]));
  }
  return mine;
}

/// What the manifest and the lengths of the files say, on rank 0.
void require_plausible(FileOps& files, const std::filesystem::path& checkpoint,
                       const Manifest& manifest) {
  const auto step = step_of(checkpoint.filename().string());
  if (step && *step != manifest.step) {
    throw CheckpointError{std::string{kManifestName} + " is that of step " +
                          std::to_string(manifest.step)};
  }
  if (const auto problem = length_problem(files, checkpoint, manifest)) {
    throw CheckpointError{*problem};
  }
}

}  // namespace

Manifest read_manifest_everywhere(Communicator& communicator, FileOps& files,
                                  const std::filesystem::path& checkpoint) {
  std::string text;
  agreed(communicator, [&] {
    if (communicator.rank() != 0) return;
    require_folder(files, checkpoint);
    text = read_text_file(files, checkpoint / kManifestName, kMaxManifestBytes);
  });
  text = broadcast_string(communicator, text);
  Manifest manifest;
  agreed(communicator, [&] { manifest = parse_manifest(text); });
  return manifest;
}

std::optional<std::string> find_problem(Communicator& communicator, FileOps& files,
                                        const std::filesystem::path& checkpoint) {
  std::string mine;
  try {
    const auto manifest = read_manifest_everywhere(communicator, files, checkpoint);
    agreed(communicator, [&] {
      if (communicator.rank() == 0) require_plausible(files, checkpoint, manifest);
    });
    agreed(communicator, [&] {
      const auto regions = share_of(manifest, communicator.rank(), communicator.size());
      mine = digest_problem(files, checkpoint, regions).value_or("");
    });
  } catch (const CheckpointError& error) {  // on every rank alike
    return error.what();
  }
  for (const auto& problem : all_gather_strings(communicator, mine)) {
    if (!problem.empty()) return problem;
  }
  return std::nullopt;
}

void read_tensors(FileOps& files, const std::filesystem::path& checkpoint,
                  const Manifest& manifest, std::span<const TensorBytes> tensors) {
  TensorIndex index;
  for (const auto& entry : manifest.tensors) index.emplace(entry.name, &entry);
  require_fit(checkpoint, index, tensors);
  std::map<std::string, File> open_files;
  for (const auto& tensor : tensors) {
    const auto& entry = *index.at(tensor.name);
    auto file = open_files.find(entry.file);
    if (file == open_files.end()) {
      file = open_files.emplace(entry.file, File::open(files, checkpoint / entry.file)).first;
    }
    read_tensor(file->second, entry, tensor.bytes);
  }
}

}  // namespace hone::checkpoints::detail

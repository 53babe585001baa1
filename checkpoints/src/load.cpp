#include "load.hpp"

#include <algorithm>
#include <thread>
#include <unordered_map>
#include <vector>

#include "agreed.hpp"
#include "digest.hpp"
#include "hone/core/buffer_partition.hpp"
#include "placement.hpp"
#include "side_by_side.hpp"
#include "verify.hpp"

namespace hone::checkpoints::detail {
namespace {

/// The entries of each tensor.
using TensorIndex = std::unordered_map<std::string_view, std::vector<const TensorEntry*>>;

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
  const auto& entry = *found->second.front();
  if (entry.dtype != wanted.dtype || entry.shape != wanted.shape) {
    return "\n  " + wanted.name + ": expected " + describe(wanted.dtype, wanted.shape) +
           ", the checkpoint has " + describe(entry.dtype, entry.shape);
  }
  const auto bytes = static_cast<std::int64_t>(wanted.bytes.size());
  const auto rest = bytes_of(entry.shape, entry.dtype) - wanted.first * size_of(entry.dtype);
  if (wanted.first < 0 || bytes > rest) {
    return "\n  " + wanted.name + ": the buffer has " + std::to_string(bytes) +
           " bytes, the tensor " + std::to_string(rest);
  }
  return {};
}

TensorIndex index_of(const Manifest& manifest) {
  TensorIndex index;
  for (const auto& entry : manifest.tensors) index[entry.name].push_back(&entry);
  return index;
}

/// The bytes of a tensor, in row-major order, that an entry holds or a caller asks for.
ElementRange bytes_held(const TensorEntry& entry) {
  return {entry.first * size_of(entry.dtype), entry.bytes};
}
ElementRange bytes_asked(const TensorBytes& wanted) {
  return {wanted.first * size_of(wanted.dtype), static_cast<std::int64_t>(wanted.bytes.size())};
}

/// Reads an entry, all of which its digest covers, and keeps what of it is wanted.
void read_entry(const File& file, const TensorEntry& entry, const TensorBytes& wanted) {
  const auto held = bytes_held(entry), asked = bytes_asked(wanted);
  Digest digest{kind_of_digest(entry.digest).value()};
  std::vector<std::byte> aside;
  for (auto begin = held.begin; begin < held.end(); begin += kChunkBytes) {
    const ElementRange piece{begin, std::min<std::int64_t>(kChunkBytes, held.end() - begin)};
    const auto kept = overlap(piece, asked);
    const auto size = static_cast<std::size_t>(piece.count);
    const bool fits = kept == piece;
    if (!fits) aside.resize(kChunkBytes);
    const auto chunk =
        fits ? wanted.bytes.subspan(static_cast<std::size_t>(begin - asked.begin), size)
             : std::span{aside}.first(size);
    file.read_at(chunk, entry.offset + begin - held.begin);
    digest.update(chunk);
    if (fits || kept.count == 0) continue;
    std::copy_n(chunk.begin() + (kept.begin - begin), kept.count,
                wanted.bytes.begin() + (kept.begin - asked.begin));
  }
  if (digest.finish() != entry.digest) {
    throw CheckpointError{entry.file + ": tensor " + entry.name + " does not match its digest"};
  }
}

/// An entry, and what is wanted of it.
struct Reading {
  const TensorEntry* entry;
  const TensorBytes* wanted;
};

/// The part of the regions that this rank reads, about as many bytes as every other's.
std::vector<DigestedRegion> share_of(std::vector<DigestedRegion> regions, int rank,
                                     int num_ranks) {
  std::vector<std::int64_t> bytes;
  for (const auto& region : regions) bytes.push_back(region.bytes());
  const auto owners = assign_by_bytes(bytes, num_ranks);
  std::vector<DigestedRegion> mine;
  for (std::size_t i = 0; i < regions.size(); ++i) {
    if (owners[i] == rank) mine.push_back(std::move(regions[i]));
  }
  return mine;
}

/// A network file system may show other nodes for a while that what has just been written is not
/// there: that is no damage.
void wait_until_seen(FileOps& files, const std::filesystem::path& checkpoint,
                     const Manifest& manifest, int rank, std::chrono::milliseconds patience) {
  constexpr std::chrono::milliseconds kLongest{500};
  const auto until = std::chrono::steady_clock::now() + patience;
  for (std::chrono::milliseconds pause{1};; pause = std::min(2 * pause, kLongest)) {
    const auto problem = plausibility_problem(files, checkpoint, manifest);
    if (!problem) return;
    if (std::chrono::steady_clock::now() >= until) {
      throw CheckpointError{"rank " + std::to_string(rank) + " does not see " + checkpoint.string() +
                                " as rank 0 does: " + *problem +
                                ". The run directory must be on a file system that all nodes share",
                            ExitCode::Environment};
    }
    std::this_thread::sleep_for(pause);
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

void require_plausible(Communicator& communicator, FileOps& files,
                       const std::filesystem::path& checkpoint, const Manifest& manifest,
                       std::chrono::milliseconds patience) {
  agreed(communicator, [&] {
    if (communicator.rank() != 0) return;
    const auto problem = plausibility_problem(files, checkpoint, manifest);
    if (problem) throw CheckpointError{*problem};
  });
  agreed(communicator, [&] {
    if (communicator.rank() == 0) return;
    wait_until_seen(files, checkpoint, manifest, communicator.rank(), patience);
  });
}

std::optional<std::string> problem_of_rest(Communicator& communicator, FileOps& files,
                                           const std::filesystem::path& checkpoint,
                                           const Manifest& manifest,
                                           const VerifiedEntries& verified) {
  std::vector<std::uint8_t> is_verified;
  for (const auto& entry : manifest.tensors) {
    is_verified.push_back(verified.contains({entry.name, entry.first}) ? 1 : 0);
  }
  communicator.all_reduce(is_verified.data(), static_cast<std::int64_t>(is_verified.size()),
                          DType::UInt8, ReduceOp::Max);
  std::string mine;
  agreed(communicator, [&] {
    const auto regions =
        share_of(regions_of(manifest, is_verified), communicator.rank(), communicator.size());
    mine = digest_problem(files, checkpoint, regions).value_or("");
  });
  for (const auto& problem : all_gather_strings(communicator, mine)) {
    if (!problem.empty()) return problem;
  }
  return std::nullopt;
}

void require_fit(const std::filesystem::path& checkpoint, const Manifest& manifest,
                 std::span<const TensorBytes> tensors) {
  const auto index = index_of(manifest);
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

void read_tensors(FileOps& files, const std::filesystem::path& checkpoint,
                  const Manifest& manifest, std::span<const TensorBytes> tensors,
                  VerifiedEntries& verified) {
  const auto index = index_of(manifest);
  std::vector<Reading> readings;
  for (const auto& tensor : tensors) {
    for (const auto* entry : index.at(tensor.name)) {
      if (overlap(bytes_held(*entry), bytes_asked(tensor)).count == 0) continue;
      readings.push_back({entry, &tensor});
    }
  }
  side_by_side(readings.size(), [&](std::size_t i) {
    const auto& [entry, wanted] = readings[i];
    read_entry(File::open(files, checkpoint / entry->file), *entry, *wanted);
  });
  for (const auto& [entry, wanted] : readings) verified.insert({entry->name, entry->first});
}

}  // namespace hone::checkpoints::detail

#include "verify.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <numeric>
#include <unordered_map>

#include "digest.hpp"
#include "file_io.hpp"
#include "hone/core/error.hpp"
#include "run_directory.hpp"
#include "side_by_side.hpp"

namespace hone::checkpoints::detail {
namespace {

/// The folders on the way to a file of the checkpoint are folders, and not links out of it.
void require_no_links(FileOps& files, const std::filesystem::path& checkpoint,
                      const std::filesystem::path& folders) {
  auto path = checkpoint;
  for (const auto& folder : folders) {
    path /= folder;
    const int fd = files.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (fd < 0) throw file_error("open the folder", path, -fd);
    files.close(fd);
  }
}

std::optional<std::string> length_problem_of(FileOps& files,
                                             const std::filesystem::path& checkpoint,
                                             const std::string& name, std::int64_t bytes) {
  require_no_links(files, checkpoint, std::filesystem::path{name}.parent_path());
  const auto found = File::open(files, checkpoint / name).size();
  if (found == bytes) return std::nullopt;
  return name + " has " + std::to_string(found) + " bytes, the manifest says " +
         std::to_string(bytes);
}

std::string digest_of_ranges(const File& file, std::span<const Range> ranges, DigestKind kind) {
  const auto memory = std::make_unique_for_overwrite<std::byte[]>(kChunkBytes);
  const std::span buffer{memory.get(), kChunkBytes};
  Digest digest{kind};
  for (auto [offset, bytes] : ranges) {
    while (bytes > 0) {
      const auto count = std::min<std::int64_t>(bytes, static_cast<std::int64_t>(buffer.size()));
      const auto chunk = buffer.first(static_cast<std::size_t>(count));
      file.read_at(chunk, offset);
      digest.update(chunk);
      offset += count;
      bytes -= count;
    }
  }
  return digest.finish();
}

}  // namespace

std::int64_t DigestedRegion::bytes() const {
  return std::accumulate(ranges.begin(), ranges.end(), std::int64_t{0},
                         [](std::int64_t sum, const Range& range) { return sum + range.bytes; });
}

std::vector<DigestedRegion> regions_of(const Manifest& manifest,
                                       std::span<const std::uint8_t> is_left_out) {
  std::vector<DigestedRegion> regions;
  std::unordered_map<std::string, std::vector<Range>> tensors_of_file;
  for (std::size_t i = 0; i < manifest.tensors.size(); ++i) {
    const auto& tensor = manifest.tensors[i];
    const Range range{tensor.offset, tensor.bytes};
    tensors_of_file[tensor.file].push_back(range);
    if (!is_left_out.empty() && is_left_out[i] != 0) continue;
    regions.push_back({"tensor " + tensor.name, tensor.file, {range}, tensor.digest});
  }
  for (const auto& file : manifest.rank_files) {
    regions.push_back({"the HDF5 structure", file.file,
                       complement(tensors_of_file[file.file], file.bytes), file.layout_digest});
  }
  for (const auto& file : manifest.other_files) {
    regions.push_back({"the content", file.file, {{0, file.bytes}}, file.digest});
  }
  return regions;
}

void require_folder(FileOps& files, const std::filesystem::path& checkpoint) {
  std::vector<DirectoryEntry> entries;
  const int result = files.list(checkpoint, entries);
  if (result == -ENOENT || result == -ENOTDIR) {
    throw CheckpointError{"there is no checkpoint folder " + checkpoint.string(),
                          ExitCode::MissingInput};
  }
  if (result < 0) throw file_error("list", checkpoint, -result);
}

Manifest read_manifest(FileOps& files, const std::filesystem::path& checkpoint) {
  return parse_manifest(read_text_file(files, checkpoint / kManifestName, kMaxManifestBytes));
}

bool is_of_later_version(FileOps& files, const std::filesystem::path& checkpoint) {
  try {
    const auto path = checkpoint / kManifestName;
    if (File::open(files, path).size() > kMaxManifestBytes) return true;  // beyond this version
    return is_of_later_version(read_text_file(files, path, kMaxManifestBytes));
  } catch (const CheckpointError&) {
    return false;
  }
}

std::optional<std::string> length_problem(FileOps& files, const std::filesystem::path& checkpoint,
                                          const Manifest& manifest) {
  try {
    std::optional<std::string> problem;
    const auto compare = [&](const auto& entry) {
      if (!problem) problem = length_problem_of(files, checkpoint, entry.file, entry.bytes);
    };
    std::for_each(manifest.rank_files.begin(), manifest.rank_files.end(), compare);
    std::for_each(manifest.other_files.begin(), manifest.other_files.end(), compare);
    return problem;
  } catch (const CheckpointError& error) {
    return error.what();
  }
}

std::optional<std::string> plausibility_problem(FileOps& files,
                                                const std::filesystem::path& checkpoint,
                                                const Manifest& manifest) {
  const auto step = step_of((checkpoint / ".").parent_path().filename().string());
  if (step && *step != manifest.step) {
    return std::string{kManifestName} + " is that of step " + std::to_string(manifest.step);
  }
  return length_problem(files, checkpoint, manifest);
}

std::optional<std::string> digest_problem(FileOps& files, const std::filesystem::path& checkpoint,
                                          std::span<const DigestedRegion> regions) {
  try {
    side_by_side(regions.size(), [&](std::size_t i) {
      const auto& region = regions[i];
      const File file = File::open(files, checkpoint / region.file);
      const auto kind = kind_of_digest(region.digest).value();
      if (digest_of_ranges(file, region.ranges, kind) == region.digest) return;
      throw CheckpointError{region.file + ": " + region.label + " does not match its digest"};
    });
    return std::nullopt;
  } catch (const CheckpointError& error) {
    return error.what();
  }
}

}  // namespace hone::checkpoints::detail

#include "hone/checkpoints/inspect.hpp"

#include <utility>

#include "hone/checkpoints/file_ops.hpp"
#include "hone/core/error.hpp"
#include "lineage.hpp"
#include "run_directory.hpp"
#include "structure.hpp"
#include "verify.hpp"

namespace hone::checkpoints {
namespace {

void describe(detail::Manifest&& manifest, CheckpointSummary& summary) {
  summary.step = manifest.step;
  summary.world_size = manifest.world_size;
  summary.hone_version = std::move(manifest.hone_version);
  summary.state_json = std::move(manifest.state_json);
  summary.tensors.reserve(manifest.tensors.size());
  for (auto& tensor : manifest.tensors) {
    summary.tensor_bytes += tensor.bytes;
    summary.tensors.push_back({std::move(tensor.name), tensor.dtype, std::move(tensor.shape),
                               tensor.bytes, std::move(tensor.file), tensor.first});
  }
}

/// Each looks at what those before it look at, too.
enum class Depth { Lengths, Digests, Structure };

CheckpointSummary summarize(const std::filesystem::path& checkpoint, Depth depth) {
  FileOps& files = real_file_ops();
  detail::require_folder(files, checkpoint);
  CheckpointSummary summary;
  summary.path = checkpoint;
  std::optional<detail::Manifest> manifest;
  try {
    manifest = detail::read_manifest(files, checkpoint);
    summary.problem = detail::plausibility_problem(files, checkpoint, *manifest);
    if (!summary.problem && depth >= Depth::Digests) {
      summary.problem = detail::digest_problem(files, checkpoint, detail::regions_of(*manifest));
    }
    if (!summary.problem && depth >= Depth::Structure) {
      summary.structure_as_laid_out = detail::is_structure_as_laid_out(files, checkpoint, *manifest);
    }
  } catch (const CheckpointError& error) {
    summary.problem = error.what();
  }
  if (manifest) describe(*std::move(manifest), summary);
  return summary;
}

}  // namespace

bool TensorSummary::is_piece() const { return bytes != detail::bytes_of(shape, dtype); }

CheckpointSummary summarize_checkpoint(const std::filesystem::path& checkpoint) {
  return summarize(checkpoint, Depth::Lengths);
}

CheckpointSummary verify_checkpoint(const std::filesystem::path& checkpoint) {
  return summarize(checkpoint, Depth::Digests);
}

CheckpointSummary inspect_checkpoint(const std::filesystem::path& checkpoint) {
  return summarize(checkpoint, Depth::Structure);
}

std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& run_directory) {
  std::vector<std::filesystem::path> paths;
  for (auto& found : detail::find_checkpoints(real_file_ops(), run_directory)) {
    paths.push_back(std::move(found.path));
  }
  return paths;
}

std::optional<std::int64_t> newest_step(const std::filesystem::path& run_directory) {
  return detail::newest_step(real_file_ops(), run_directory);
}

std::map<std::filesystem::path, std::string> passed_over_checkpoints(
    const std::filesystem::path& run_directory) {
  std::map<std::filesystem::path, std::string> reasons;
  for (const auto& found : detail::trace_checkpoints(real_file_ops(), run_directory)) {
    if (found.passed_over) reasons.emplace(found.path, *found.passed_over);
  }
  return reasons;
}

}  // namespace hone::checkpoints

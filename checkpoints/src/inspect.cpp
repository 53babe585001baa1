#include "hone/checkpoints/inspect.hpp"

#include "hone/checkpoints/file_ops.hpp"
#include "hone/core/error.hpp"
#include "lineage.hpp"
#include "run_directory.hpp"
#include "structure.hpp"
#include "verify.hpp"

namespace hone::checkpoints {
namespace {

void describe(const detail::Manifest& manifest, CheckpointSummary& summary) {
  summary.step = manifest.step;
  summary.world_size = manifest.world_size;
  summary.hone_version = manifest.hone_version;
  summary.state_json = manifest.state_json;
  for (const auto& tensor : manifest.tensors) {
    summary.tensors.push_back(
        {tensor.name, tensor.dtype, tensor.shape, tensor.bytes, tensor.file, tensor.first});
    summary.tensor_bytes += tensor.bytes;
  }
}

CheckpointSummary summarize(const std::filesystem::path& checkpoint, bool reads_all) {
  FileOps& files = real_file_ops();
  detail::require_folder(files, checkpoint);
  CheckpointSummary summary;
  summary.path = checkpoint;
  try {
    const auto manifest = detail::read_manifest(files, checkpoint);
    describe(manifest, summary);
    summary.problem = detail::plausibility_problem(files, checkpoint, manifest);
    if (!summary.problem && reads_all) {
      summary.problem = detail::digest_problem(files, checkpoint, detail::regions_of(manifest));
      if (!summary.problem) {
        summary.structure_as_laid_out =
            detail::is_structure_as_laid_out(files, checkpoint, manifest);
      }
    }
  } catch (const CheckpointError& error) {
    summary.problem = error.what();
  }
  return summary;
}

}  // namespace

bool TensorSummary::is_piece() const { return bytes != detail::bytes_of(shape, dtype); }

CheckpointSummary summarize_checkpoint(const std::filesystem::path& checkpoint) {
  return summarize(checkpoint, /*reads_all=*/false);
}

CheckpointSummary inspect_checkpoint(const std::filesystem::path& checkpoint) {
  return summarize(checkpoint, /*reads_all=*/true);
}

std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& run_directory) {
  std::vector<std::filesystem::path> paths;
  for (auto& found : detail::find_checkpoints(real_file_ops(), run_directory)) {
    paths.push_back(std::move(found.path));
  }
  return paths;
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

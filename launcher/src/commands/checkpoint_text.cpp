#include "commands/checkpoint_text.hpp"

#include <nlohmann/json.hpp>

#include "counted.hpp"
#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"

namespace hone::launcher {

std::string megabytes(std::int64_t bytes) {
  const std::int64_t tenths = (bytes + 50'000) / 100'000;
  return std::to_string(tenths / 10) + '.' + std::to_string(tenths % 10) + " MB";
}

std::string one_line(const checkpoints::CheckpointSummary& summary, const std::string& verdict) {
  std::string text = printable(summary.path.string(), 1000) + "  ";
  if (summary.problem) return text + "BAD: " + printable(*summary.problem, 1000) + '\n';
  return text + "step " + std::to_string(summary.step) + ", " +
         std::to_string(summary.tensors.size()) + " tensors, " + megabytes(summary.tensor_bytes) +
         ", " + counted(summary.world_size, "rank") + ", " + verdict + '\n';
}

std::string dumped(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

int exit_code_of(bool all_whole) {
  return all_whole ? 0 : static_cast<int>(ExitCode::InvalidData);
}

}  // namespace hone::launcher

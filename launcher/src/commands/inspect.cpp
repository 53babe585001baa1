#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "commands/checkpoint_folder.hpp"
#include "commands/checkpoint_text.hpp"
#include "hone/checkpoints/inspect.hpp"
#include "hone/core/data/detail/json_file.hpp"
#include "hone/core/error.hpp"
#include "hone/core/printable.hpp"
#include "hone/launcher/commands.hpp"

namespace hone::launcher {
namespace {

using checkpoints::CheckpointSummary;
using checkpoints::TensorSummary;
using nlohmann::ordered_json;

constexpr auto kReplace = ordered_json::error_handler_t::replace;  // a path may be any bytes

struct InspectOptions {
  std::filesystem::path path;
  bool json = false;
  bool verify = false;

  void bind(OptionRegistry& registry) {
    auto group = registry.group("Input");
    group.add("path", &path, "A folder checkpoint-N, or a run directory that holds some.")
        .positional()
        .required();
    group.add("verify", &verify,
              "In a run directory, read every checkpoint and compare its digests; a single "
              "checkpoint is always read.");
    registry.group("Output").add("json", &json, "JSON to standard output.");
  }
};

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const auto extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + ']';
}

std::string full_text(const CheckpointSummary& summary) {
  std::string text = one_line(summary);
  if (!summary.hone_version.empty()) {
    text += "written by hone " + printable(summary.hone_version) + '\n';
  }
  if (summary.structure_as_laid_out) {
    text += *summary.structure_as_laid_out
                ? "HDF5 structure as hone lays it out: other programs find the same tensors\n"
                : "HDF5 structure not as this hone lays it out: hone reads by the manifest, but other "
                  "programs may find other tensors. Trust them only if you trust who wrote it\n";
  } else if (summary.verified()) {
    text += "HDF5 structure not compared: a file has too many tensors for that\n";
  }
  if (!summary.state_json.empty()) text += "state " + printable(summary.state_json, 2000) + '\n';
  for (const TensorSummary& tensor : summary.tensors) {
    text += "  " + printable(tensor.name) + "  " + std::string{name_of(tensor.dtype)} + ' ' +
            shape_text(tensor.shape) + "  " + std::to_string(tensor.bytes) + " bytes" +
            (tensor.is_piece() ? " from element " + std::to_string(tensor.first) : "") + "  " +
            printable(tensor.file) + '\n';
  }
  return text;
}

/// A line each: as one JSON value a hundred thousand would need hundreds of megabytes.
std::string tensors_text(const CheckpointSummary& summary) {
  std::string text;
  for (const TensorSummary& tensor : summary.tensors) {
    const ordered_json entry{{"name", tensor.name},
                             {"dtype", name_of(tensor.dtype)},
                             {"shape", tensor.shape},
                             {"bytes", tensor.bytes},
                             {"first", tensor.first},
                             {"file", tensor.file}};
    text += (text.empty() ? "\n    " : ",\n    ") + entry.dump();
  }
  return text;
}

/// null where it is nothing that a trainer wrote.
ordered_json state_json(const CheckpointSummary& summary) {
  try {
    return detail::parse_json_file(summary.state_json, summary.path);
  } catch (const InputError&) {
    return nullptr;
  }
}

std::string json_text(const CheckpointSummary& summary) {
  ordered_json json{{"path", summary.path.string()},
                    {"step", summary.step},
                    {"verified", summary.verified()},
                    {"problem", nullptr},
                    {"world_size", summary.world_size},
                    {"hone_version", summary.hone_version},
                    {"tensor_bytes", summary.tensor_bytes},
                    {"structure_as_laid_out", nullptr},
                    {"state", state_json(summary)}};
  if (summary.problem) json["problem"] = *summary.problem;
  if (summary.structure_as_laid_out) json["structure_as_laid_out"] = *summary.structure_as_laid_out;
  auto text = dumped(json);
  text.erase(text.rfind("\n}"));
  return text + ",\n  \"tensors\": [" + tensors_text(summary) + "\n  ]\n}";
}

int inspect_one(const InspectOptions& options, Screen& screen) {
  const CheckpointSummary summary = checkpoints::inspect_checkpoint(options.path);
  screen.print(options.json ? json_text(summary) + '\n' : full_text(summary));
  return exit_code_of(summary.verified());
}

/// A run at work may delete it meanwhile.
CheckpointSummary verified(const std::filesystem::path& folder) {
  try {
    return checkpoints::verify_checkpoint(folder);
  } catch (const CheckpointError& error) {
    CheckpointSummary gone;
    gone.path = folder;
    gone.problem = error.what();
    return gone;
  }
}

int list_run(const InspectOptions& options, const std::vector<std::filesystem::path>& folders,
             Screen& screen) {
  bool all_whole = true;
  if (options.json) screen.print("{\"checkpoints\": [\n");
  for (const auto& folder : folders) {
    const char* const end = !options.json ? "" : folder == folders.back() ? "\n" : ",\n";
    if (!options.verify) {
      screen.print(options.json ? ordered_json{{"path", folder.string()}}.dump(-1, ' ', false, kReplace) + end
                                : printable(folder.string(), 1000) + '\n');
      continue;
    }
    const CheckpointSummary summary = verified(folder);
    all_whole = all_whole && summary.verified();
    screen.print(options.json ? json_text(summary) + end : one_line(summary));
  }
  if (options.json) screen.print("]}\n");
  if (!options.json && !options.verify) screen.print("newest first; --verify reads them and compares digests\n");
  return exit_code_of(all_whole);
}

}  // namespace

int run_inspect(const CommandContext& context, Arguments arguments) {
  InspectOptions options;
  OptionRegistry registry{"hone inspect", "Shows what a checkpoint holds and whether it is whole."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  if (context.environment.rank != 0) return 0;
  require_checkpoint_folder(options.path);
  const auto folders = checkpoints::list_checkpoints(options.path);
  if (folders.empty()) return inspect_one(options, context.screen);
  return list_run(options, folders, context.screen);
}

}  // namespace hone::launcher

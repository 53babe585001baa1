#include "commands/checkpoint_folder.hpp"
#include "hone/checkpoints/hdf5_checkpoint_store.hpp"
#include "hone/checkpoints/inspect.hpp"
#include "hone/core/error.hpp"
#include "hone/core/model/language_model.hpp"
#include "hone/core/printable.hpp"
#include "hone/core/training/checkpoint_tensors.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "hone/launcher/commands.hpp"

namespace hone::launcher {
namespace {

struct ExportOptions {
  std::filesystem::path checkpoint, output_dir;
  std::string dtype = "float32";
  double max_shard_size = 5.0;
  bool overwrite_output_dir = false;

  void bind(OptionRegistry& registry) {
    registry.group("Input")
        .add("checkpoint", &checkpoint, "A folder checkpoint-N, or a run directory: its newest.")
        .positional()
        .required();
    auto output = registry.group("Output");
    output.add("output_dir", &output_dir, "The Hugging Face folder to write.").required();
    output.add_choice("dtype", &dtype, "Of the weights; checkpoints hold float32.",
                      {"float32", "bfloat16"});
    output.add("max_shard_size", &max_shard_size,
               "Gigabytes of a safetensors file; a larger model is written in several, with an index.",
               positive());
    output.add("overwrite_output_dir", &overwrite_output_dir,
               "Write over a model that is there already.");
  }
};

/// Only reads, as a run may be at work there: whole checkpoints are never written to.
std::filesystem::path newest_usable(const std::filesystem::path& run_directory, Screen& screen) {
  const auto passed_over = checkpoints::passed_over_checkpoints(run_directory);
  std::string problems;
  for (const auto& checkpoint : checkpoints::list_checkpoints(run_directory)) {
    const auto reason = passed_over.find(checkpoint);
    const auto problem = reason != passed_over.end()
                             ? "passed over: " + reason->second
                             : checkpoints::verify_checkpoint(checkpoint).problem;
    if (!problem) {
      if (!problems.empty()) {
        screen.print_error("warning: these newer checkpoints are not exported:" + problems + '\n');
      }
      return checkpoint;
    }
    problems += "\n  " + checkpoint.filename().string() + ": " + printable(*problem, 1000);
  }
  throw CheckpointError{"no checkpoint in " + run_directory.string() + " is usable:" + problems};
}

void require_whole(const std::filesystem::path& checkpoint) {
  const auto problem = checkpoints::verify_checkpoint(checkpoint).problem;
  if (problem) throw CheckpointError{checkpoint.string() + " is refused: " + *problem};
}

/// A checkpoint is never written to: its digests would not fit any more.
void require_no_checkpoint(const std::filesystem::path& output_dir) {
  auto folder = std::filesystem::weakly_canonical(std::filesystem::absolute(output_dir));
  for (; folder.has_relative_path(); folder = folder.parent_path()) {
    if (!std::filesystem::exists(folder / "manifest.json")) continue;  // nor one of another program's:
    if (checkpoints::summarize_checkpoint(folder).hone_version.empty()) continue;
    throw ConfigError{printable(output_dir.string(), 1000) + " is or lies in a checkpoint, which nothing may change. "
                      "Give another --output_dir"};
  }
}

void require_free(const ExportOptions& options) {
  require_no_checkpoint(options.output_dir);
  for (const char* name : {"config.json", "model.safetensors", "model.safetensors.index.json"}) {
    if (options.overwrite_output_dir || !std::filesystem::exists(options.output_dir / name)) continue;
    throw ConfigError{options.output_dir.string() + " holds a model already (" + name +
                      "). Give another --output_dir, or --overwrite_output_dir"};
  }
}

}  // namespace

int run_export(const CommandContext& context, Arguments arguments) {
  ExportOptions options;
  OptionRegistry registry{"hone export", "Writes a checkpoint's model as a Hugging Face folder."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  if (context.environment.rank != 0) return 0;
  auto folder = options.checkpoint;
  require_checkpoint_folder(folder);
  require_free(options);
  if (!checkpoints::list_checkpoints(folder).empty()) {
    folder = newest_usable(folder, context.screen);
  } else {
    require_whole(folder);
  }
  distributed::LoopbackCommunicator alone;
  NullLogger log;
  checkpoints::Hdf5CheckpointStore store{alone, log, {.run_directory = folder.parent_path()}};
  const auto model = build_model(folder);
  HostCopies copies;
  store.load_tensors(folder, model_tensors(*model, &copies));
  save_model(*model, folder, options.output_dir,
             {.dtype = options.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat,
              .max_shard_bytes = static_cast<std::int64_t>(options.max_shard_size * 1e9)});
  context.screen.print(folder.string() + " -> " + options.output_dir.string() + '\n');
  return 0;
}

}  // namespace hone::launcher

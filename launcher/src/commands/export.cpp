#include "hone/checkpoints/hdf5_checkpoint_store.hpp"
#include "hone/checkpoints/inspect.hpp"
#include "hone/core/error.hpp"
#include "hone/core/model/language_model.hpp"
#include "hone/core/training/checkpoint_tensors.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "hone/launcher/commands.hpp"

namespace hone::launcher {
namespace {

struct ExportOptions {
  std::filesystem::path checkpoint, output_dir;

  void bind(OptionRegistry& registry) {
    registry.group("Input")
        .add("checkpoint", &checkpoint, "A folder checkpoint-N, or a run directory: its newest.")
        .positional()
        .required();
    registry.group("Output")
        .add("output_dir", &output_dir, "The Hugging Face folder to write.")
        .required();
  }
};

void require_folder(const std::filesystem::path& folder) {
  if (!std::filesystem::is_directory(folder)) {
    throw MissingInputError{folder.string() + " is not a folder; pass checkpoint-N of a run, or the "
                                              "run directory"};
  }
  if (std::filesystem::exists(folder / "manifest.json") ||
      !checkpoints::list_checkpoints(folder).empty()) {
    return;
  }
  throw InputError{folder.string() + " is no checkpoint (it has no manifest.json) and no run "
                                     "directory that holds one"};
}

}  // namespace

int run_export(const CommandContext& context, Arguments arguments) {
  ExportOptions options;
  OptionRegistry registry{"hone export", "Writes a checkpoint's model as a Hugging Face folder."};
  options.bind(registry);
  if (!parse_options(context, registry, arguments)) return 0;
  if (context.environment.rank != 0) return 0;
  auto folder = options.checkpoint;
  require_folder(folder);
  const bool is_run = !checkpoints::list_checkpoints(folder).empty();
  distributed::LoopbackCommunicator alone;
  NullLogger log;
  checkpoints::Hdf5CheckpointStore store{
      alone, log, {.run_directory = is_run ? folder : folder.parent_path()}};
  if (is_run) folder = store.find_newest().value();
  const auto model = build_model(folder);
  store.load_tensors(folder, model_tensors(*model));
  save_model(*model, folder, options.output_dir);
  context.screen.print(folder.string() + " -> " + options.output_dir.string() + '\n');
  return 0;
}

}  // namespace hone::launcher

#include "hone/launcher/job_options.hpp"

#include <cstdlib>
#include <vector>

#include "hone/core/error.hpp"
#include "hone/core/options/nearest_name.hpp"
#include "hone/core/printable.hpp"
#include "hone/launcher/loop/run_directory.hpp"
#include "job/torch_settings.hpp"

namespace hone::launcher {
namespace {

std::filesystem::path model_cache() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    return std::filesystem::path{cache} / "hone/models";
  }
  const char* home = std::getenv("HOME");
  return std::filesystem::path{home == nullptr ? "/" : home} / ".cache/hone/models";
}

std::vector<std::string> folders_in(const std::filesystem::path& parent) {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator{parent, none}) {
    if (entry.is_directory(none)) names.push_back(entry.path().filename().string());
  }
  return names;
}

[[noreturn]] void throw_not_found(const std::string& name, const std::filesystem::path& config,
                                  ModelFiles files) {
  const auto here = std::filesystem::current_path();
  std::vector<std::filesystem::path> parents{here};
  if (!config.empty()) parents.push_back(std::filesystem::absolute(config).parent_path());
  parents.push_back(model_cache());
  std::string looked_at;
  std::vector<std::string> names;
  for (const auto& parent : parents) {
    looked_at += "\n  " + printable((parent / name).string(), 1000);
    for (auto& found : folders_in(parent)) names.push_back(std::move(found));
  }
  const auto nearest = nearest_name(name, names);
  throw MissingInputError{"there is no model \"" + printable(name) + "\"." +
                          (nearest ? " Did you mean \"" + printable(*nearest) + "\"?" : "") +
                          " Looked for the folders" + looked_at +
                          "\nPass a Hugging Face folder that holds " +
                          std::string{names_of(files)}};
}

}  // namespace

void WatchOptions::bind(OptionGroup& group) {
  group.add_choice("watchdog", &watchdog,
                   "About ranks that die, hang or are out of step: abort ends the job with the cause, "
                   "report only tells, off does not look.",
                   {"abort", "report", "off"});
  group.add("ddp_timeout", &ddp_timeout,
            "Seconds that ranks wait for another before the job ends; null: 1800, or, while that one is in "
            "data, forward, backward, reduce or optimizer of a step, five times what one such phase takes, "
            "but at least 60. MPI's and NCCL's start have at least 15 each.",
            positive());
  group.add("control_interface", &control_interface,
            "Network interface that rank 0 hears the others on, where the job has several hosts; "
            "empty: the first that is up.");
}

void ModelOptions::bind(OptionRegistry& registry) {
  auto model = registry.group("Model");
  model
      .add("model_name_or_path", &model_name_or_path,
           "A Hugging Face folder (config.json, safetensors, tokenizer.json).")
      .required();
  model.add("bf16", &bf16,
            "Compute in bfloat16; while training, weights and optimizer state stay in float32 too.");
  auto machine = registry.group("Machine");
  machine.add("use_cpu", &use_cpu, "Compute on the CPU also where there is a GPU.");
  machine.add("ddp_backend", &ddp_backend, "How ranks communicate: auto, mpi, nccl.");
  machine.add("num_threads", &num_threads,
              "Compute threads of a rank; null: its share of the node's cores.", at_least(1));
  machine.add("bind_threads", &bind_threads,
              "Bind each rank to its share of the node's cores, where the launcher has not.");
  machine.add("allow_shared_device", &allow_shared_device,
              "Let two ranks compute on one GPU, which is refused otherwise; they can generate and "
              "evaluate, but not train, since NCCL takes one rank per GPU.");
  watch.bind(machine);
}

SessionOptions ModelOptions::session_options(bool watch_signals) const {
  return {.use_cpu = use_cpu,
          .ddp_backend = ddp_backend,
          .num_threads = num_threads,
          .bind_threads = bind_threads,
          .allow_shared_device = allow_shared_device,
          .watch = watch,
          .watch_signals = watch_signals,
          .set_num_threads = prepare_torch};
}

LoadOptions ModelOptions::load_options(bool for_training) const {
  return {.dtype = bf16 ? at::kBFloat16 : at::kFloat, .with_masters = for_training};
}

std::filesystem::path ModelOptions::folder(const std::filesystem::path& config,
                                           ModelFiles files) const {
  const auto beside = resolve_beside(model_name_or_path, config);
  if (std::filesystem::exists(beside)) return beside;
  const auto cached = model_cache() / model_name_or_path;
  if (std::filesystem::exists(cached)) return cached;
  // A name with a slash is a path or a hub id; loading it says what is wrong with it.
  if (model_name_or_path.find('/') != std::string::npos) return model_name_or_path;
  throw_not_found(model_name_or_path, config, files);
}

std::filesystem::path resolve_beside(const std::filesystem::path& file,
                                     const std::filesystem::path& config) {
  if (file.is_absolute() || std::filesystem::exists(file) || config.empty()) return file;
  const auto beside = config.parent_path() / file;
  return std::filesystem::exists(beside) ? beside : file;
}

void ResumeOptions::bind(OptionGroup& group) {
  group.add("resume_from_checkpoint", &resume_from_checkpoint,
            "auto: go on from the newest valid checkpoint of output_dir, or start where there is "
            "none; true: the same, but there must be one; a folder checkpoint-N: from that one; "
            "false: start.");
}

void SaveLimits::bind(OptionGroup& group, const std::string& prefix) {
  group.add(prefix + "max_overhead", &max_overhead,
            "Checkpoints that are due wait where the last one would be more than this share of "
            "the time; 0: they never wait.",
            from_below(0.0, 1.0));
  group.add(prefix + "total_limit", &total_limit,
            "Newest checkpoints that stay, at least two; null: all.", at_least(1));
  group.add(prefix + "keep_steps", &keep_steps,
            "Beside them those after a multiple of so many updates; null: none.", at_least(1));
}

checkpoints::StoreOptions SaveLimits::store_in(const std::filesystem::path& run_directory) const {
  return {.run_directory = run_directory,
          .save_total_limit = total_limit,
          .save_keep_steps = keep_steps,
          .log_file = RunDirectory::kMetricsFile};
}

}  // namespace hone::launcher

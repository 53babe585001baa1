#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "hone/checkpoints/hdf5_checkpoint_store.hpp"
#include "hone/core/hf/model_folder.hpp"
#include "hone/core/model/language_model.hpp"
#include "hone/core/options/option_registry.hpp"
#include "hone/launcher/session.hpp"

namespace hone::launcher {

/// Options that every command with a model has.
struct ModelOptions {
  std::string model_name_or_path;
  bool bf16 = false;
  bool use_cpu = false;
  std::string ddp_backend = "auto";
  std::optional<std::int64_t> num_threads;
  bool bind_threads = true;
  bool allow_shared_device = false;
  WatchOptions watch;

  void bind(OptionRegistry& registry);
  /// `watch_signals`: of a command that has something to save.
  SessionOptions session_options(bool watch_signals = true) const;
  /// `for_training`: bfloat16 values get float32 masters.
  LoadOptions load_options(bool for_training = false) const;

  /// The folder that the name means: as it stands, else beside `config` (the YAML file, may be
  /// empty), else in hone's model cache ($XDG_CACHE_HOME or ~/.cache, hone/models/). A name with a
  /// slash is returned as it stands where none of these exists: loading it tells what is wrong.
  /// Throws: MissingInputError for one without, with where it was looked for and which `files` are
  /// needed.
  std::filesystem::path folder(const std::filesystem::path& config,
                               ModelFiles files = ModelFiles::All) const;
};

/// A file that a YAML file names: relative to where the job runs, else to the YAML file.
std::filesystem::path resolve_beside(const std::filesystem::path& file,
                                     const std::filesystem::path& config);

/// What --resume_from_checkpoint asks for.
struct ResumeOptions {
  std::string resume_from_checkpoint = "false";  ///< false | auto | true | PATH

  void bind(OptionGroup& group);
  bool wanted() const { return resume_from_checkpoint != "false"; }
};

/// How much of the time checkpoints may take, and which of them stay.
struct SaveLimits {
  double max_overhead = 0.0;
  std::optional<std::int64_t> total_limit, keep_steps;

  /// `prefix` comes before each name: "save_" makes save_total_limit.
  void bind(OptionGroup& group, const std::string& prefix = "");
  checkpoints::StoreOptions store_in(const std::filesystem::path& run_directory) const;
};

}  // namespace hone::launcher

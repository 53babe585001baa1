#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hone/core/error.hpp"
#include "hone/core/options/option_registry.hpp"

namespace hone::testing {

enum class Schedule { Linear, Cosine };

/// One variable of every type that options have.
struct Variables {
  std::filesystem::path model;
  std::filesystem::path output_dir = "out";
  double learning_rate = 5e-5;
  std::int64_t save_steps = 500;
  std::int64_t total_limit = 0;
  bool bf16 = false;
  bool shuffle_dataset = true;
  bool use_cpu = false;
  std::string run_name = "hone";
  Schedule schedule = Schedule::Linear;
  std::string dtype = "auto";
  std::vector<std::string> stop;
  std::vector<double> betas = {0.9, 0.999};
  std::optional<std::int64_t> max_length;
  std::optional<double> top_p;
  std::optional<std::string> prefix;
  std::optional<bool> gather;
  double temperature = 1.0;
  std::int64_t best_of = 1;
  std::filesystem::path prompts_file;
  std::filesystem::path eval_file;

  void bind(OptionRegistry& registry) {
    registry.add_config_option();
    auto training = registry.group("Training");
    training.add("model_name_or_path", &model, "Folder of the model.");
    training.add("output_dir", &output_dir, "Where everything is written.");
    training.add("learning_rate", &learning_rate, "Peak learning rate.", positive());
    training.add("save_steps", &save_steps, "Updates between checkpoints.", positive());
    training.add("bf16", &bf16, "Compute in bfloat16.");
    training.add("shuffle_dataset", &shuffle_dataset, "Shuffle each call.");
    training.add("use_cpu", &use_cpu, "Leave the GPU alone.").alias("no_cuda");
    training.add("run_name", &run_name, "Name in logs.");
    training.add_choice<Schedule>("lr_scheduler_type", &schedule, "Shape of the schedule.",
                                  {{"linear", Schedule::Linear}, {"cosine", Schedule::Cosine}});
    training.add_choice("dtype", &dtype, "Element type.", {"auto", "float32", "bfloat16"});
    training.add("betas", &betas, "Decay of the moments.", between(0, 1));
    training.add("max_length", &max_length, "Longest sample.", at_least(1));
    auto generate = registry.group("Generation", "generate.");
    generate.add("temperature", &temperature, "Softness of sampling.", non_negative());
    generate.add("top_p", &top_p, "Nucleus.", above_up_to(0, 1));
    generate.add("stop", &stop, "Texts that end a sample.");
    generate.add("prefix", &prefix, "Begins every answer.");
    generate.add("gather", &gather, "Collect on rank 0.");
    auto loop = registry.group("Loop");
    loop.add("keep.best_of", &best_of, "Best samples of a prompt.", at_least(1));
    loop.add("save.total_limit", &total_limit, "Checkpoints that stay.", non_negative());
    loop.add("prompts.file", &prompts_file, "Prompts.");
    loop.add("eval.file", &eval_file, "Evaluation set.");
  }
};

/// Variables bound to a registry; parse() takes the arguments as typed.
struct BoundOptions {
  Variables values;
  OptionRegistry registry{"hone try", "Tries options."};

  BoundOptions() { values.bind(registry); }
  ParsedOptions parse(const std::vector<std::string>& arguments) {
    return registry.parse(arguments);
  }
  /// The message of the ConfigError that parsing ends in, or "no error".
  std::string error_of(const std::vector<std::string>& arguments) {
    try {
      registry.parse(arguments);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no error";
  }
  std::string yaml_error_of(const std::string& text) {
    try {
      registry.load_yaml(text, "run.yaml");
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no error";
  }
};

}  // namespace hone::testing

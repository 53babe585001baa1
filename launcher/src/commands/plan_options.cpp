#include "commands/plan_options.hpp"

#include "hone/core/error.hpp"

namespace hone::launcher {

void PlanOptions::bind(OptionRegistry& registry) {
  registry.add_config_option();
  registry.advise("bf16", "It is --dtype bfloat16 here");
  auto model = registry.group("Model");
  model
      .add("model_name_or_path", &model_name_or_path,
           "A folder with config.json; weights are not needed.")
      .positional()
      .required();
  bind_job(registry.group("Job"));
  bind_training(registry.group("Training"));
  bind_speed(registry.group("Speed"));
  registry.group("Output").add("json", &json, "JSON to standard output.");
}

void PlanOptions::bind_job(OptionGroup job) {
  job.add("ranks", &ranks, "Numbers of ranks to plan for: 2,8,64.", at_least(1))
      .comma_separated();
  job.add("ranks_per_node", &ranks_per_node, "Ranks that a node has room for.", at_least(1));
  job.add_choice("device", &device, "What the ranks compute on; cuda is a model, not measured.",
                 {"cpu", "cuda"});
  job.add("memory_gb", &memory_gb,
          "10^9 bytes that a rank may take, of its GPU or its share of a node; where they are too "
          "few the plan says which options would help. null: not judged.",
          positive());
}

void PlanOptions::bind_training(OptionGroup training) {
  training.add_choice("dtype", &dtype, "Computed in; bfloat16 as with bf16 of hone train.",
                      {"float32", "bfloat16"});
  training.add_choice("optim", &optim, "The optimizer.", {"adamw_torch", "sgd"});
  training.add("momentum", &momentum, "Of sgd.", from_below(0, 1));
  training.add_choice("optimizer_sharding", &optimizer_sharding,
                      "zero1: each rank keeps its share of the optimizer's state alone.",
                      {"none", "zero1"});
  training.add_choice("ddp_comm_hook", &ddp_comm_hook,
                      "bf16: gradients travel as bfloat16, half as many bytes.", {"no", "bf16"});
  training.add("gradient_checkpointing", &gradient_checkpointing,
               "Keep only each block's input for the backward pass and compute the rest again.");
  training.add("per_device_train_batch_size", &per_device_train_batch_size,
               "Samples that a rank computes at once.", at_least(1));
  training.add("per_device_train_tokens", &per_device_train_tokens,
               "Tokens that a rank computes at once, where that is fewer samples; null: no limit.",
               at_least(1));
  training.add("gradient_accumulation_steps", &gradient_accumulation_steps,
               "Micro-batches of a rank in one update.", at_least(1));
  training.add("max_length", &max_length,
               "Tokens of every sample, which is the worst case; null: the model's maximum.",
               at_least(1));
  training.add("async_save", &async_save,
               "Checkpoints are copied and written while training goes on, which takes memory; false: "
               "it waits, or there are none.");
  training.add("batch_size", &batch_size,
               "Sequences of max_length that a rank generates together; 0: it does not generate.",
               non_negative());
}

void PlanOptions::bind_speed(OptionGroup speed) {
  speed.add("tflops", &tflops,
            "10^12 operations a second that a rank keeps up; null: no prediction of times.",
            positive());
  speed.add("node_link_gb_per_second", &node_link_gb_per_second,
            "10^9 bytes a second that a rank sends to another of its node.", positive());
  speed.add("node_link_latency_us", &node_link_latency_us, "Microseconds of such a hop.",
            non_negative());
  speed.add("link_gb_per_second", &link_gb_per_second,
            "The same to another node, for each rank: its share of the node's network.",
            positive());
  speed.add("link_latency_us", &link_latency_us, "Microseconds of such a hop.", non_negative());
  speed.add("overlap", &overlap,
            "With device cuda, the share of the backward pass in which gradients are on their way; "
            "0: they leave after it, as on CPUs.",
            between(0, 1));
}

void PlanOptions::validate() const {
  if (ranks.empty()) throw ConfigError{"ranks is empty. Give some: --ranks 2,8,64"};
  for (const auto count : ranks) {
    constexpr std::int64_t kMost = 10'000'000;  // sums of bytes stay within 64 bits
    if (count <= kMost) continue;
    throw ConfigError{"ranks must be at most 10000000, got " + std::to_string(count)};
  }
  if (overlap > 0 && device == "cpu") {
    throw ConfigError{"overlap has no effect on CPUs, where gradients leave after the backward "
                      "pass. Leave it out, or plan for --device cuda"};
  }
}

}  // namespace hone::launcher

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hone/core/options/option_registry.hpp"

namespace hone::launcher {

/// What `hone plan` is asked. Names are those of `hone train` where it has them.
struct PlanOptions {
  std::string model_name_or_path;
  std::vector<std::int64_t> ranks{1};
  std::int64_t ranks_per_node = 8;
  std::string device = "cpu";
  std::optional<double> memory_gb;
  std::string dtype = "float32";
  std::string optim = "adamw_torch";
  double momentum = 0.0;
  std::string optimizer_sharding = "none";
  std::string ddp_comm_hook = "no";
  bool gradient_checkpointing = false, async_save = true;
  std::int64_t per_device_train_batch_size = 8;
  std::optional<std::int64_t> per_device_train_tokens;
  std::int64_t gradient_accumulation_steps = 1;
  std::optional<std::int64_t> max_length;
  std::int64_t batch_size = 0;
  std::optional<double> tflops, node_link_gb_per_second, link_gb_per_second;
  double node_link_latency_us = 0.0, link_latency_us = 0.0, overlap = 0.0;
  bool json = false;

  void bind(OptionRegistry& registry);
  /// Throws: ConfigError for what says nothing together.
  void validate() const;

  bool is_narrow() const { return dtype == "bfloat16"; }
  bool is_sharded() const { return optimizer_sharding == "zero1"; }
  std::int64_t samples_of_rank() const {
    return per_device_train_batch_size * gradient_accumulation_steps;
  }

 private:
  void bind_job(OptionGroup job);
  void bind_training(OptionGroup training);
  void bind_speed(OptionGroup speed);
};

}  // namespace hone::launcher

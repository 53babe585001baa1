#include "hone/core/training/trainer_options.hpp"

#include <cmath>

#include "hone/core/error.hpp"
#include "hone/core/options/option_registry.hpp"
#include "hone/core/training/lr_schedule.hpp"
#include "hone/core/training/token_row.hpp"

namespace hone {
namespace {

void require(bool holds, const std::string& message) {
  if (!holds) throw ConfigError{message};
}

std::string got(std::int64_t value) { return ", got " + std::to_string(value); }
std::string got(double value) { return ", got " + std::to_string(value); }

void add_data_options(OptionGroup group, TrainerOptions& o) {
  group.add("max_length", &o.max_length, "Tokens a sample keeps; null: the model's maximum.",
            at_least(1));
  group.add_choice("truncation_mode", &o.truncation_mode,
                   "Which end of a sample that is too long is kept.", {"keep_end", "keep_start"});
  group.add("append_eos", &o.append_eos, "Add the end token to every text.");
  group.add("shuffle_dataset", &o.shuffle_dataset,
            "Train on each call's samples in a permutation keyed by seed and call.");
}

void add_batch_options(OptionGroup group, TrainerOptions& o) {
  group.add("per_device_train_batch_size", &o.per_device_train_batch_size,
            "Samples that a rank computes at once.", at_least(1));
  group.add("per_device_train_tokens", &o.per_device_train_tokens,
            "Tokens that a rank computes at once, where that is fewer samples; null: no limit.",
            at_least(1));
  group.add("gradient_accumulation_steps", &o.gradient_accumulation_steps,
            "Micro-batches of an update, where global_train_batch_size is not set.", at_least(1));
  group.add("global_train_batch_size", &o.global_train_batch_size,
            "Samples of one optimizer update over all ranks; belongs to the run. null: "
            "per_device_train_batch_size x gradient_accumulation_steps x ranks.",
            at_least(1));
  group.add("per_device_eval_batch_size", &o.per_device_eval_batch_size,
            "Samples that a rank evaluates at once.", at_least(1));
  group.add("gradient_checkpointing", &o.gradient_checkpointing,
            "Keep only each block's input for the backward pass and compute the rest again.");
  group.add("full_determinism", &o.full_determinism,
            "The same bits on 1, 2 and 4 ranks of equal threads; slower, see docs/trainer.md.");
  group.add("optimize_device_cache", &o.optimize_device_cache,
            "Give cached memory back after each step call.");
  group.add("async_save", &o.async_save,
            "Checkpoints are copied and written while training goes on; false: it waits, and on "
            "CPUs needs no memory for the copy.");
  group.add_choice("updates_per_step", &o.updates_per_step,
                   "all: a step call is one pass in chunks of global_train_batch_size; one: the "
                   "whole call is one update.",
                   {"all", "one"});
}

void add_optimizer_options(OptionGroup group, TrainerOptions& o) {
  group.add("learning_rate", &o.learning_rate, "Peak learning rate.", non_negative());
  group.add("lr_scheduler_type", &o.lr_scheduler_type,
            "constant, constant_with_warmup, linear, cosine, cosine_with_restarts, "
            "cosine_with_min_lr, polynomial, inverse_sqrt or warmup_stable_decay; null: linear where "
            "max_steps is set, else constant_with_warmup.");
  group.add("lr_num_cycles", &o.lr_shape.num_cycles,
            "Waves of a cosine schedule; null: half a one, or one for cosine_with_restarts.",
            positive());
  group.add("lr_min_ratio", &o.lr_shape.min_lr_ratio,
            "Floor of cosine_with_min_lr and warmup_stable_decay, as a share of the peak.",
            between(0, 1));
  group.add("lr_power", &o.lr_shape.power, "Exponent of polynomial.", positive());
  group.add("lr_end", &o.lr_shape.lr_end, "Where polynomial ends, a rate.", non_negative());
  group.add("lr_timescale", &o.lr_shape.timescale,
            "Of inverse_sqrt, in updates; null: warmup_steps, or 10000.", at_least(1));
  group.add("lr_decay_steps", &o.lr_shape.num_decay_steps,
            "The last updates, in which warmup_stable_decay goes down.", non_negative());
  group.add_choice("lr_decay_type", &o.lr_decay_type, "How it goes down.",
                   {"cosine", "linear", "1-sqrt"});
  group.add("warmup_steps", &o.warmup_steps,
            "Updates until the peak; below 1: that share of max_steps.", non_negative());
  group.add("max_steps", &o.max_steps, "Optimizer updates in all; -1: no end.", at_least(-1));
  group.add_choice("optim", &o.optim, "The optimizer.", {"adamw_torch", "sgd"});
  group.add("momentum", &o.momentum, "Of sgd.", from_below(0, 1));
  group.add_choice("optimizer_sharding", &o.optimizer_sharding,
                   "none; zero1: each rank keeps the optimizer's state of its part of the parameters "
                   "only, and updates that.",
                   {"none", "zero1"});
  group.add_choice("ddp_comm_hook", &o.ddp_comm_hook,
                   "How gradients travel between ranks. no: as they are; bf16: rounded to bfloat16, half "
                   "the traffic.",
                   {"no", "bf16"});
  group.add("ddp_bucket_cap_mb", &o.ddp_bucket_cap_mb,
            "MiB of gradients that are sent at once during the backward pass, on GPUs.", at_least(1));
  group.add("weight_decay", &o.weight_decay,
            "Decay of all but biases and norms; decoupled in adamw_torch.", non_negative());
  group.add("adam_beta1", &o.adam_beta1, "Decay of the first moment.", from_below(0, 1));
  group.add("adam_beta2", &o.adam_beta2, "Decay of the second moment.", from_below(0, 1));
  group.add("adam_epsilon", &o.adam_epsilon, "Added to the root of the second moment.",
            non_negative());
  group.add("max_grad_norm", &o.max_grad_norm,
            "Gradients are scaled down to this global norm; 0: never.", non_negative());
  group.add("label_smoothing_factor", &o.label_smoothing_factor,
            "Share of each target that is spread evenly over the vocabulary.", from_below(0, 1));
  group.add_choice("on_new_round", &o.on_new_round,
                   "keep; reset_optimizer: each round begins with an optimizer that has seen nothing; "
                   "rewarm: each goes up to the schedule's rate again over warmup_steps updates.",
                   {"keep", "reset_optimizer", "rewarm"});
  group.add("replica_check_steps", &o.replica_check_steps,
            "Updates between looks at whether all ranks still hold the same weights; 0: never.",
            non_negative());
  group.add_choice("on_non_finite", &o.on_non_finite,
                   "stop: a loss or gradient that is not finite ends the run; skip: that update is "
                   "left out.",
                   {"stop", "skip"});
}

}  // namespace

void TrainerOptions::validate() const {
  require(!max_length || *max_length > 0, "max_length must be > 0" + got(max_length.value_or(0)));
  parse_truncation_mode(truncation_mode);
  require(per_device_train_batch_size > 0,
          "per_device_train_batch_size must be > 0" + got(per_device_train_batch_size));
  require(!per_device_train_tokens || *per_device_train_tokens > 0,
          "per_device_train_tokens must be > 0" + got(per_device_train_tokens.value_or(0)));
  require(gradient_accumulation_steps > 0,
          "gradient_accumulation_steps must be > 0" + got(gradient_accumulation_steps));
  require(!global_train_batch_size || *global_train_batch_size > 0,
          "global_train_batch_size must be > 0" + got(global_train_batch_size.value_or(0)));
  require(per_device_eval_batch_size > 0,
          "per_device_eval_batch_size must be > 0" + got(per_device_eval_batch_size));
  require(updates_per_step == "all" || updates_per_step == "one",
          "updates_per_step must be all or one, got \"" + updates_per_step + "\"");
  require(std::isfinite(learning_rate) && learning_rate >= 0,
          "learning_rate must be >= 0" + got(learning_rate));
  if (lr_scheduler_type) parse_schedule(*lr_scheduler_type);
  parse_decay(lr_decay_type);
  require(warmup_steps >= 0, "warmup_steps must be >= 0" + got(warmup_steps));
  require(warmup_steps == 0 || warmup_steps >= 1 || max_steps > 0,
          "warmup_steps below 1 is a share of max_steps, which is not set");
  require(max_steps == -1 || max_steps > 0, "max_steps must be > 0, or -1 for no end" + got(max_steps));
  require(past_max_steps == "stop" || past_max_steps == "hold" || past_max_steps == "error",
          "past_max_steps must be stop, hold or error, got \"" + past_max_steps + "\"");
  for (const auto& [name, steps] : {std::pair{"warmup_steps", warmup_steps},
                                    {"eval_steps", eval_steps},
                                    {"logging_steps", logging_steps}}) {
    require(steps < 1 || steps == std::floor(steps),
            std::string{name} + " must be a whole number, or below 1 for a share of max_steps" + got(steps));
  }
  require(std::isfinite(weight_decay) && weight_decay >= 0,
          "weight_decay must be a finite number >= 0" + got(weight_decay));
  require(std::isfinite(adam_epsilon) && adam_epsilon >= 0,
          "adam_epsilon must be a finite number >= 0" + got(adam_epsilon));
  require(adam_beta1 >= 0 && adam_beta1 < 1, "adam_beta1 must be in [0, 1)" + got(adam_beta1));
  require(adam_beta2 >= 0 && adam_beta2 < 1, "adam_beta2 must be in [0, 1)" + got(adam_beta2));
  require(max_grad_norm >= 0, "max_grad_norm must be >= 0" + got(max_grad_norm));
  require(optim == "adamw_torch" || optim == "sgd",
          "optim must be adamw_torch or sgd, got \"" + optim + "\"");
  require(optimizer_sharding == "none" || optimizer_sharding == "zero1",
          "optimizer_sharding must be none or zero1, got \"" + optimizer_sharding + "\"");
  require(ddp_comm_hook == "no" || ddp_comm_hook == "bf16",
          "ddp_comm_hook must be no or bf16, got \"" + ddp_comm_hook + "\"");
  require(ddp_bucket_cap_mb > 0, "ddp_bucket_cap_mb must be > 0" + got(ddp_bucket_cap_mb));
  require(ddp_comm_hook == "no" || !full_determinism,
          "full_determinism sums gradients as they are: ddp_comm_hook must be no");
  require(momentum >= 0 && momentum < 1, "momentum must be in [0, 1)" + got(momentum));
  require(label_smoothing_factor >= 0 && label_smoothing_factor < 1,
          "label_smoothing_factor must be in [0, 1)" + got(label_smoothing_factor));
  require(on_new_round == "keep" || on_new_round == "reset_optimizer" || on_new_round == "rewarm",
          "on_new_round must be keep, reset_optimizer or rewarm, got \"" + on_new_round + "\"");
  require(on_new_round != "rewarm" || warmup_steps > 0,
          "on_new_round rewarm goes up over warmup_steps updates, which is 0");
  require(on_non_finite == "stop" || on_non_finite == "skip",
          "on_non_finite must be stop or skip, got \"" + on_non_finite + "\"");
  require(eval_strategy == "no" || eval_strategy == "end" || eval_strategy == "steps",
          "eval_strategy must be no, end or steps, got \"" + eval_strategy + "\"");
  require(eval_strategy != "steps" || eval_steps > 0,
          "eval_strategy steps needs eval_steps > 0" + got(eval_steps));
  require(eval_strategy != "steps" || eval_steps >= 1 || max_steps > 0,
          "eval_steps below 1 is a share of max_steps, which is not set");
  require(logging_steps >= 0, "logging_steps must be >= 0" + got(logging_steps));
  require(logging_steps == 0 || logging_steps >= 1 || max_steps > 0,
          "logging_steps below 1 is a share of max_steps, which is not set");
  require(seed >= 0, "seed must be >= 0" + got(seed));
  require(save_steps >= 0, "save_steps must be >= 0" + got(save_steps));
  require(save_minutes >= 0, "save_minutes must be >= 0" + got(save_minutes));
  require(save_max_overhead >= 0 && save_max_overhead < 1,
          "save_max_overhead must be in [0, 1)" + got(save_max_overhead));
  require(replica_check_steps >= 0, "replica_check_steps must be >= 0" + got(replica_check_steps));
}

std::string TrainerOptions::to_lines() const {
  auto copy = *this;
  OptionRegistry registry{"trainer", ""};
  register_trainer_options(registry, copy);
  auto rest = registry.group("Run");
  rest.add("past_max_steps", &copy.past_max_steps, "");
  rest.add("seed", &copy.seed, "");
  rest.add("logging_steps", &copy.logging_steps, "");
  rest.add("eval_strategy", &copy.eval_strategy, "");
  rest.add("eval_steps", &copy.eval_steps, "");
  rest.add("metric_for_best_model", &copy.metric_for_best_model, "");
  rest.add("greater_is_better", &copy.greater_is_better, "");
  rest.add("save_steps", &copy.save_steps, "");
  rest.add("save_minutes", &copy.save_minutes, "");
  rest.add("save_max_overhead", &copy.save_max_overhead, "");
  return registry.dump_yaml();
}

void register_trainer_options(OptionRegistry& registry, TrainerOptions& options,
                              const std::string& prefix) {
  add_data_options(registry.group("Samples", prefix), options);
  add_batch_options(registry.group("Batches", prefix), options);
  add_optimizer_options(registry.group("Optimizer", prefix), options);
}

}  // namespace hone

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "hone/core/training/lr_schedule.hpp"

namespace hone {

class OptionRegistry;

/// What a trainer is told. Names and defaults are transformers' TrainingArguments and TRL's
/// IterativeSFTConfig where they exist; unset optionals mean what their comment says.
struct TrainerOptions {
  std::optional<std::int64_t> max_length;    ///< tokens a sample keeps; null: the model's maximum
  std::string truncation_mode = "keep_end";  ///< keep_end | keep_start
  bool append_eos = false;                   ///< add the end token to every text

  std::int64_t per_device_train_batch_size = 8;  ///< rows of a micro-batch, at most
  /// Tokens of a micro-batch, at most, its padding not counted; a longer row is alone. Null: no
  /// limit.
  std::optional<std::int64_t> per_device_train_tokens;
  std::int64_t gradient_accumulation_steps = 1;  ///< only sets the default of the next
  /// Samples of one optimizer update, over all ranks. Null: per_device_train_batch_size x
  /// gradient_accumulation_steps x ranks (x 4 under full_determinism) at the first start, kept on
  /// resume.
  std::optional<std::int64_t> global_train_batch_size;
  std::int64_t per_device_eval_batch_size = 8;
  bool gradient_checkpointing = false;   ///< less memory, a third more time, the same numbers
  std::string updates_per_step = "all";  ///< all: one pass in chunks | one: the call is one update
  bool shuffle_dataset = true;           ///< a keyed permutation within each call

  double learning_rate = 5e-5;
  std::optional<std::string> lr_scheduler_type;  ///< null: linear where max_steps is set, else constant_with_warmup
  ScheduleShape lr_shape = {};                   ///< what only some of these look at
  std::string lr_decay_type = "cosine";          ///< of warmup_stable_decay: cosine | linear | 1-sqrt
  double warmup_steps = 0;                       ///< below 1: a share of max_steps
  std::int64_t max_steps = -1;                   ///< optimizer updates in all; -1: no end
  /// Where step is called after max_steps updates. stop: it trains nothing | hold: it goes on at
  /// the rates that the schedule has there | error: ConfigError. The first two warn once.
  std::string past_max_steps = "stop";
  double weight_decay = 0.0;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_epsilon = 1e-8;
  double max_grad_norm = 1.0;  ///< 0: no clipping; the norm is reported all the same
  std::string optim = "adamw_torch";     ///< adamw_torch | sgd
  double momentum = 0.0;                 ///< of sgd
  /// none: every rank updates all parameters | zero1: each rank a part, of which alone it keeps the
  /// optimizer's state, and shares it. The same result.
  std::string optimizer_sharding = "none";
  /// How float32 gradients travel between ranks, a name of PyTorch's: no: as they are | bf16:
  /// rounded to bfloat16, half the traffic. Whoever makes the reducer looks at this.
  std::string ddp_comm_hook = "no";
  std::int64_t ddp_bucket_cap_mb = 25;  ///< gradients sent at once during the backward pass, on GPUs
  double label_smoothing_factor = 0.0;   ///< share of each target spread over the vocabulary
  /// At the begin of each step call but the first: keep | reset_optimizer: forget its state |
  /// rewarm: go up to the schedule's rate again over warmup_steps updates.
  std::string on_new_round = "keep";
  /// Updates between looks at whether all ranks still hold the same weights; 0: never. Where they
  /// do not, DivergedError names a rank and a tensor, before anything is saved.
  std::int64_t replica_check_steps = 100;
  std::string on_non_finite = "stop";    ///< stop: throw DivergedError | skip: leave the update out

  std::int64_t seed = 42;
  /// The same bits on 1, 2 and 4 ranks (of equal threads, on CPUs): work is dealt into four shards
  /// whose gradients are added in a fixed order. Refused on other numbers of ranks.
  bool full_determinism = false;
  bool optimize_device_cache = false;  ///< give cached memory back after each step call
  double logging_steps = 0;  ///< updates between log records; below 1: a share of max_steps; 0: none
  /// no: when asked | end: at max_steps | steps: there and every eval_steps updates
  std::string eval_strategy = "no";
  double eval_steps = 0;             ///< below 1: a share of max_steps
  /// A key of EvalStats::to_map() ("eval_loss"); empty: the best model is not looked for.
  std::string metric_for_best_model;
  bool greater_is_better = false;
  std::int64_t save_steps = 0;  ///< checkpoint every so many updates; 0: only when asked
  double save_minutes = 0;      ///< checkpoint after so much time, by rank 0's clock; 0: not
  /// save_behind() copies the state and lets a thread write it, while training goes on: each rank
  /// keeps memory for its share of a checkpoint. False: training waits, and the memory is saved.
  bool async_save = true;
  /// Saves that are due wait until the last one was no more than this share of the time since it
  /// began; 0: they never wait.
  double save_max_overhead = 0;

  /// Throws: ConfigError saying which field, what it is and what it may be.
  void validate() const;
  /// A line "name value" for every field.
  std::string to_lines() const;
};

/// Registers what the programs' users set under each field's own name. `prefix` nests them
/// ("train.") in a YAML file.
void register_trainer_options(OptionRegistry& registry, TrainerOptions& options,
                              const std::string& prefix = "");

}  // namespace hone

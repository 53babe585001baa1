// What a Trainer is built from, and what it does between steps: generate, evaluate, stop.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "hone/core/error.hpp"
#include "hone/core/training/row_rules.hpp"
#include "hone/core/training/trainer.hpp"
#include "training/gradient_exchange.hpp"
#include "training/parameter_digest.hpp"
#include "training/now.hpp"

namespace hone {
namespace {

LrSchedule make_schedule(const TrainerOptions& options) {
  const char* by_default = options.max_steps > 0 ? "linear" : "constant_with_warmup";
  const double warmup = options.warmup_steps;
  LrSchedule schedule{
      .kind = parse_schedule(options.lr_scheduler_type.value_or(by_default)),
      .learning_rate = options.learning_rate,
      .warmup_steps = static_cast<std::int64_t>(
          warmup < 1.0 ? std::ceil(warmup * static_cast<double>(std::max<std::int64_t>(0, options.max_steps)))
                       : warmup),
      .max_steps = options.max_steps,
      .shape = options.lr_shape};
  schedule.shape.decay = parse_decay(options.lr_decay_type);
  schedule.validate();
  return schedule;
}

/// What `rank` owns of all groups.
std::vector<ParameterSlice> slices_of_rank(const ParameterStore& parameters,
                                           const GradientReducer& reducer, int rank) {
  std::vector<ParameterSlice> slices;
  const auto groups = parameters.groups();
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const auto parts = reducer.partition(groups[i].values.numel());
    for (std::int64_t bucket = 0; bucket < parts.num_buckets(); ++bucket) {
      const auto owned = parts.owned(bucket, rank);
      if (owned.count > 0) slices.push_back({i, owned});
    }
  }
  return slices;
}

std::unique_ptr<Optimizer> make_optimizer(ParameterStore& parameters, const TrainerOptions& o,
                                          std::vector<ParameterSlice> slices) {
  if (o.optim == "sgd") {
    return std::make_unique<Sgd>(
        parameters, SgdOptions{.momentum = o.momentum, .weight_decay = o.weight_decay},
        std::move(slices));
  }
  return std::make_unique<AdamW>(parameters,
                                 AdamWOptions{.beta1 = o.adam_beta1,
                                              .beta2 = o.adam_beta2,
                                              .epsilon = o.adam_epsilon,
                                              .weight_decay = o.weight_decay},
                                 std::move(slices));
}

std::int64_t default_global_batch(const TrainerOptions& options, const Sharding& sharding) {
  return options.global_train_batch_size.value_or(options.per_device_train_batch_size *
                                                  options.gradient_accumulation_steps *
                                                  sharding.num_shards);
}

/// full_determinism: so many shards whatever the number of ranks.
constexpr int kFixedShards = 4;

Sharding sharding_for(const TrainerOptions& options, Communicator& comm) {
  if (!options.full_determinism) return Sharding::of_ranks(comm);
  if (kFixedShards % comm.size() != 0) {
    throw ConfigError{"full_determinism works on 1, 2 or 4 ranks, this job has " +
                      std::to_string(comm.size()) + ". Start another number, or turn it off"};
  }
  return Sharding::fixed(comm, kFixedShards);
}

/// The same for all ranks, or an error: products on another number of threads round otherwise.
std::int64_t agreed_threads(Communicator& comm) {
  const std::int64_t mine = at::get_num_threads();
  const auto all = comm.all_gather_bytes(std::as_bytes(std::span{&mine, 1}));
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    throw ConfigError{"full_determinism needs the same number of threads on every rank, and rank " +
                      std::to_string(rank) + " has another than rank 0. Set num_threads"};
  }
  return mine;
}

/// What to do about a line that ranks differ in.
std::string difference_advice(const std::string& line) {
  if (line.starts_with("seed:")) {
    return ". Give all ranks the same seed: their random numbers differ all the same";
  }
  if (line.starts_with("compute_metrics")) {
    return ". Give it to all ranks: it is called on rank 0 alone";
  }
  return ". Start all ranks with the same";
}

}  // namespace

Trainer::Trainer(TrainerParts parts, TrainerOptions options)
    : parts_(std::move(parts)), options_(std::move(options)) {
  run_agreed(parts_.communicator, [&] { options_.validate(); });
  require_equal_options();
  schedule_ = make_schedule(options_);
  state_.seed = options_.seed;
  sharding_ = sharding_for(options_, parts_.communicator);
  state_.global_train_batch_size = default_global_batch(options_, sharding_);
  if (options_.full_determinism) require_determinism();
  require_positions(parts_.model.shape(), options_.max_length);
  parts_.model.set_gradient_checkpointing(options_.gradient_checkpointing);
  prepare_optimizer();
  detail::require_equal_parameters(parts_.communicator, parts_.model.parameters());
  save_began_at_ = detail::now_seconds();
  if (options_.save_steps > 0 || options_.save_minutes > 0) prepare_saves();
  for (const auto& set : parts_.eval_sets) {
    const auto same_name = [&](const EvalSet& other) { return other.name == set.name; };
    if (std::ranges::count_if(parts_.eval_sets, same_name) > 1) {
      throw ConfigError{set.name.empty() ? "of several evaluation sets each needs a name"
                                         : "two evaluation sets have the name \"" + set.name + '"'};
    }
    eval_rows_.push_back(agreed_rows(parts_.communicator, set.batch, row_rules()));
  }
  require_evaluation_fits();
}

Trainer::~Trainer() = default;

void Trainer::prepare_saves(bool behind) {
  if (parts_.checkpoints == nullptr) return;
  settle_save();
  std::vector<TensorBytes> saved;
  run_agreed(parts_.communicator, [&] { saved = tensors(); });
  parts_.checkpoints->require_room(saved);
  if (!behind || !options_.async_save) return;
  run_agreed(parts_.communicator, [&] { parts_.checkpoints->prepare_saves(saved); });
}

void Trainer::prepare_optimizer() {
  auto& parameters = parts_.model.parameters();
  parameters.enable_training([&](std::int64_t bytes) { return parts_.reducer.allocate(bytes); });
  auto updated = is_sharded()
                     ? slices_of_rank(parameters, parts_.reducer, parts_.communicator.rank())
                     : parameters.whole();
  summed_slices_ = sums_are_dealt() ? updated : parameters.whole();
  if (is_sharded() && parts_.optimizer) {
    throw ConfigError{"optimizer_sharding " + options_.optimizer_sharding +
                      " is for hone's own optimizers, and the trainer was given another. Use "
                      "optimizer_sharding none"};
  }
  optimizer_ = parts_.optimizer ? std::move(parts_.optimizer)
                                : make_optimizer(parameters, options_, std::move(updated));
  exchange_ = std::make_unique<detail::GradientExchange>(
      parameters, parts_.reducer, is_sharded() ? SumsFor::Owners : SumsFor::AllRanks);
}

/// Ranks that are told otherwise would train other samples, or in other steps.
void Trainer::require_equal_options() const {
  auto mine = options_.to_lines();
  const auto& hooks = parts_.eval_hooks;
  mine += std::string{"preprocess_logits_for_metrics "} +
          (hooks.preprocess_logits_for_metrics ? "given" : "not given") + "\ncompute_metrics " +
          (hooks.compute_metrics ? "given" : "not given") + "\ncheckpoints " +
          (parts_.checkpoints != nullptr ? "given" : "not given") + "\nevaluation sets:";
  for (const auto& set : parts_.eval_sets) mine += " \"" + set.name + '"';
  mine += '\n';
  const auto all = all_gather_strings(parts_.communicator, mine);
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    std::istringstream theirs{all[rank]}, expected{all[0]};
    std::string other, line;
    while (std::getline(theirs, other) && std::getline(expected, line) && other == line) continue;
    throw ConfigError{"rank " + std::to_string(rank) + " was given " + other + ", rank 0 " + line +
                      difference_advice(other)};
  }
}

void Trainer::require_evaluation_fits() const {
  const bool evaluates = options_.eval_strategy != "no";
  if (evaluates && eval_rows_.empty()) {
    throw ConfigError{"eval_strategy is \"" + options_.eval_strategy +
                      "\" but there is no evaluation set"};
  }
  if (options_.eval_strategy == "end" && options_.max_steps <= 0) {
    throw ConfigError{"eval_strategy is \"end\", which is at max_steps, and that is not set"};
  }
  if (!options_.metric_for_best_model.empty() && eval_rows_.empty()) {
    throw ConfigError{"metric_for_best_model is \"" + options_.metric_for_best_model +
                      "\" but there is no evaluation set"};
  }
}

void Trainer::require_determinism() {
  if (parts_.communicator.size() > 1 && !parts_.reducer.is_deterministic()) {
    throw ConfigError{"full_determinism needs a reducer that sums in a fixed order: give the trainer "
                      "a TreeGradientReducer"};
  }
  if (!parts_.model.parameters().options().device().is_cpu()) {
    throw ConfigError{"full_determinism is for CPUs only as yet. Use use_cpu, or turn it off"};
  }
  state_.deterministic_threads = agreed_threads(parts_.communicator);
}

/// on_new_round "rewarm": the share of the schedule's rate. No update of a round has none of it,
/// for a round may have but few.
double Trainer::rewarming(std::int64_t step) const {
  if (options_.on_new_round != "rewarm" || state_.call == 0) return 1.0;
  const auto done = static_cast<double>(step - state_.call_began);
  return std::min(1.0, (done + 1.0) / (static_cast<double>(schedule_.warmup_steps) + 1.0));
}

double Trainer::learning_rate_at(std::int64_t step) const {
  if (!parts_.learning_rate) return schedule_.at(step) * rewarming(step);
  const double rate = parts_.learning_rate(step);
  if (std::isfinite(rate) && rate >= 0) return rate * rewarming(step);
  throw ConfigError{"the learning rate of one's own for update " + std::to_string(step) + " is " +
                    std::to_string(rate) + ": it must be a finite number >= 0"};
}

std::vector<Completion> Trainer::generate(std::span<const PromptTokens> prompts,
                                          const GenerationOptions& options) {
  turn_to("generate");
  auto completions = generate_share(parts_.model, parts_.communicator, sharding_, parts_.tokenizer,
                                    prompts, options, static_cast<std::uint64_t>(state_.seed),
                                    static_cast<std::uint64_t>(state_.generate_call));
  // Greedy completions draw no numbers: an evaluation between rounds changes no later sample.
  if (options.do_sample) ++state_.generate_call;
  turn_to("between steps");
  return completions;
}

std::vector<Completion> Trainer::generate(std::span<const std::string> prompts,
                                          const GenerationOptions& options) {
  if (parts_.tokenizer == nullptr) {
    throw InputError{"generate: texts need a tokenizer, and the trainer was given none. Pass one, "
                     "or token ids"};
  }
  std::vector<PromptTokens> tokens;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    tokens.push_back({parts_.tokenizer->encode(prompts[i]), static_cast<std::int64_t>(i)});
  }
  return generate(tokens, options);
}

EvalStats Trainer::evaluate(const Batch& batch) {
  failure_ = {};
  turn_to("evaluate");
  auto rows = agreed_rows(parts_.communicator, batch, row_rules());
  const auto stats =
      hone::evaluate(parts_.model, parts_.communicator, sharding_, parts_.collator, rows,
                     options_.per_device_eval_batch_size, parts_.eval_hooks);
  tell(&TrainerCallback::on_evaluate, stats);
  agree_or_throw(parts_.communicator, std::exchange(failure_, {}));
  return stats;
}

std::vector<EvalStats> Trainer::evaluate() {
  failure_ = {};
  turn_to("evaluate");
  std::vector<EvalStats> sets;
  Metrics all;
  for (std::size_t i = 0; i < eval_rows_.size(); ++i) {
    auto stats = hone::evaluate(parts_.model, parts_.communicator, sharding_, parts_.collator, eval_rows_[i],
                                options_.per_device_eval_batch_size, parts_.eval_hooks);
    stats.name = parts_.eval_sets[i].name;
    for (auto& figure : stats.to_map()) all.push_back(std::move(figure));
    tell(&TrainerCallback::on_evaluate, stats);
    sets.push_back(std::move(stats));
  }
  agree_or_throw(parts_.communicator, std::exchange(failure_, {}));
  if (!options_.metric_for_best_model.empty()) note_best(all);
  return sets;
}

void Trainer::note_best(const Metrics& metrics) {
  const auto found = std::find_if(metrics.begin(), metrics.end(), [&](const auto& metric) {
    return metric.first == options_.metric_for_best_model;
  });
  if (found == metrics.end()) {
    std::string names;
    for (const auto& [name, value] : metrics) names += (names.empty() ? "" : ", ") + name;
    throw ConfigError{"metric_for_best_model \"" + options_.metric_for_best_model +
                      "\" is none of the evaluation's: " + names};
  }
  const bool is_best = update_best(found->first, found->second, options_.greater_is_better);
  if (is_best && !parts_.best_model_folder.empty()) save_model(parts_.best_model_folder);
}

bool Trainer::note_metric(const std::string& name, double value, bool greater_is_better) {
  if (!options_.metric_for_best_model.empty()) {
    throw ConfigError{"note_metric: metric_for_best_model \"" + options_.metric_for_best_model +
                      "\" says already what is the best. Set one, or call the other"};
  }
  return update_best(name, value, greater_is_better);
}

/// True where `value` is the best so far, which it then is from here on.
bool Trainer::update_best(const std::string& name, double value, bool greater_is_better) {
  if (!std::isfinite(value)) {
    parts_.log.warning(name + " is not finite at step " + std::to_string(state_.global_step) +
                       ": it counts as no better than the best");
    return false;
  }
  const auto directed = name + (greater_is_better ? " up" : " down");
  if (std::exchange(state_.best_metric_name, directed) != directed) state_.best_metric.reset();
  const bool is_better = !state_.best_metric || (greater_is_better ? value > *state_.best_metric
                                                                   : value < *state_.best_metric);
  if (!is_better) return false;
  state_.best_metric = value;
  state_.best_step = state_.global_step;
  return true;
}

RowRules Trainer::row_rules() const {
  auto rules = row_rules_of(parts_.model.shape(), options_.max_length);
  rules.truncation_mode = parse_truncation_mode(options_.truncation_mode);
  rules.tokenizer = parts_.tokenizer;
  rules.append_eos = options_.append_eos;
  return rules;
}

void Trainer::set_max_steps(std::int64_t max_steps) {
  options_.max_steps = max_steps;
  options_.validate();
  require_not_past_end(state_.global_step);
  schedule_ = make_schedule(options_);
}

void Trainer::require_not_past_end(std::int64_t step) const {
  if (options_.max_steps <= 0 || step <= options_.max_steps) return;
  if (options_.past_max_steps == "hold") return;
  throw ConfigError{"the checkpoint is from after update " + std::to_string(step) +
                    ", this run would end after " + std::to_string(options_.max_steps) +
                    ". Go on: max_steps of more than " + std::to_string(step)};
}

bool Trainer::done() const { return stopped_ || (at_end() && options_.past_max_steps != "hold"); }

/// A call that begins at the end of the run.
void Trainer::look_past_end() {
  if (!at_end() || stopped_) return;
  const auto where = "step: all " + std::to_string(options_.max_steps) + " updates of max_steps are made";
  if (options_.past_max_steps == "error") {
    throw ConfigError{where + ". End the loop where done() is true, or raise max_steps"};
  }
  if (std::exchange(warned_of_end_, true)) return;
  parts_.log.warning(where + (options_.past_max_steps == "hold"
                                  ? ": this call goes on at the rate that the schedule has there"
                                  : ": this call and those after it train nothing"));
}

bool Trainer::stop_if_asked() {
  const auto asked = agreed_request();
  if (save_is_settled_) settle_save();
  if (parts_.checkpoints != nullptr && asked == StopRequest::SaveAndStop) save();
  if (parts_.checkpoints != nullptr && asked == StopRequest::SaveAndContinue) save_behind();
  if (asked == StopRequest::SaveAndStop) stopped_ = true;
  return stopped_;
}

}  // namespace hone

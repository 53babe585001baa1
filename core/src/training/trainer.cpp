#include "hone/core/training/trainer.hpp"

#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "hone/core/error.hpp"
#include "hone/core/memory/device_memory.hpp"
#include "hone/core/training/loss.hpp"
#include "hone/core/training/micro_batches.hpp"
#include "hone/core/training/packed_forward.hpp"
#include "hone/core/training/plans.hpp"
#include "training/gradient_exchange.hpp"
#include "training/gradient_norm.hpp"
#include "training/gradient_tree.hpp"
#include "training/now.hpp"
#include "training/parameter_digest.hpp"
#include "training/tensor_bytes.hpp"

namespace hone {
namespace {

using detail::now_seconds;

/// " 3 1 7", or its begin where that would be long: logs are read by people.
std::string listed(std::span<const std::int64_t> numbers) {
  constexpr std::size_t kMost = 256;
  std::string text;
  for (const auto number : numbers.first(std::min(numbers.size(), kMost))) {
    text += ' ' + std::to_string(number);
  }
  if (numbers.size() > kMost) text += " and " + std::to_string(numbers.size() - kMost) + " more";
  return text;
}

}  // namespace

/// One optimizer update on its way through step().
struct Trainer::Update {
  struct Shard {
    std::vector<PackedBatch> micro_batches;
    std::vector<at::Tensor> loss_sums;  ///< of each of these; on the device until agree_on()
  };
  std::vector<Shard> shards;     ///< of this rank
  LocalFailure failure = {};     ///< of this rank's forward and backward; until agree_on()
  std::int64_t num_samples = 0;  ///< over all ranks, as the counts below
  std::int64_t num_targets = 0;
  std::int64_t input_tokens = 0;
  double target_weight = 0.0;  ///< the targets' weights added up
  double loss = 0.0;
  double grad_norm = 0.0;
  double learning_rate = 0.0;
  double started = 0.0;
  bool is_finite = true;

  bool applies() const { return target_weight > 0 && is_finite; }
};

StepStats Trainer::step(const Batch& batch) {
  const double started = now_seconds();
  clock_ = PhaseClock{parts_.activity};
  look_past_end();
  auto rows = agreed_rows(parts_.communicator, batch, row_rules());
  begin_call(rows);
  tell(&TrainerCallback::on_round_begin);
  const auto num_samples = rows.size();
  const auto updates = plan_updates(
      num_samples, samples_per_update(num_samples), options_.shuffle_dataset,
      static_cast<std::uint64_t>(state_.seed), static_cast<std::uint64_t>(state_.call));
  StepStats stats{.step = state_.global_step, .truncated = rows.truncated};
  // A resumed call starts behind the updates that were applied before the interruption.
  const std::span pending =
      std::span{updates}.subspan(std::min(updates.size(), updates_done_in_call()));
  if (pending.empty() && !done()) end_call();
  const auto deals = done() ? std::vector<RowDeal>{} : deals_of(rows, pending);
  move_rows(parts_.communicator, sharding_, deals, rows);
  const auto call = state_.call;
  try {
    for (std::size_t i = 0; i < pending.size() && !done(); ++i) {
      clock_.enter(Phase::Data);
      tell(&TrainerCallback::on_step_begin);
      auto update = begin_update(rows.rows, deals[i]);
      update.failure = failure_of([&] { accumulate_gradients(update); });
      reduce_gradients(update);
      agree_on(update);
      if (update.applies()) clip_and_apply(update);
      record(update, stats);
      if (i + 1 == pending.size()) end_call();
      auto asked = agree_behind(update);
      if (evaluate_if_due(update, stats)) asked = std::max(asked, agreed_request());
      save_if_due(update, asked);
    }
  } catch (...) {
    if (state_.call == call) end_call();  // its other updates are given up
    failure_ = {};
    throw;
  }
  if (done()) {
    clock_.enter(Phase::Checkpoint);
    settle_save();
    if (failed_saves_ > 0) save();  // no later one would stand for it
  }
  warn_of_untrained(stats, pending);
  finish(stats, started);
  tell(&TrainerCallback::on_round_end, stats);
  agree_or_throw(parts_.communicator, std::exchange(failure_, {}));
  return stats;
}

/// A resumed call must go on with the samples that it began with: its order is that of their
/// places.
void Trainer::begin_call(const GlobalRows& rows) {
  if (done()) return;  // nothing will be trained of them
  const auto digest = digest_of(rows);
  if (state_.updates_in_call > 0 && digest != state_.call_digest) {
    throw InputError{
        "step: a call was interrupted after " + std::to_string(state_.updates_in_call) +
        " of its updates, by a kill, a stop or max_steps, and this call, which continues "
        "it, was given other samples. Pass the same ones, or resume from a checkpoint "
        "between two calls"};
  }
  state_.call_digest = digest;
  if (state_.updates_in_call > 0) return;
  state_.call_began = state_.global_step;
  if (state_.call > 0 && options_.on_new_round == "reset_optimizer") forget_optimizer_state();
}

void Trainer::forget_optimizer_state() {
  for (auto& [name, flat] : optimizer_->state()) {
    for (auto& tensor : flat) tensor.zero_();
  }
  optimizer_->set_num_steps(0);
}

void Trainer::end_call() {
  ++state_.call;
  state_.updates_in_call = 0;
  state_.call_digest = 0;
}

std::int64_t Trainer::samples_per_update(std::int64_t num_samples) const {
  return options_.updates_per_step == "one" ? std::max<std::int64_t>(1, num_samples)
                                            : state_.global_train_batch_size;
}

/// Of the updates of a call.
std::vector<RowDeal> Trainer::deals_of(const GlobalRows& rows,
                                       std::span<const std::vector<std::int64_t>> updates) const {
  std::vector<RowDeal> deals;
  for (const auto& chunk : updates) deals.push_back(deal_rows(sharding_, rows, chunk));
  return deals;
}

Trainer::Update Trainer::begin_update(std::span<const TokenRow> rows, const RowDeal& deal) {
  constexpr std::size_t kNumCounts = 4;  // targets, tokens, the targets' weights; failures
  Update update;
  update.started = now_seconds();
  for (const auto& share : deal) update.num_samples += static_cast<std::int64_t>(share.size());
  std::vector<double> of_shards;  // whole numbers are exact here up to 2^53
  const auto failure = failure_of([&] {
    update.learning_rate = learning_rate_at(state_.global_step);
    for (const auto& share : shards_of_rank(sharding_, deal)) {
      parts_.log.debug("update " + std::to_string(state_.global_step + 1) + " trains samples" +
                       listed(share) + " of the call here");
      auto& shard = update.shards.emplace_back();
      shard.micro_batches = micro_batches(rows, share, parts_.collator,
                                          {.rows = options_.per_device_train_batch_size,
                                           .tokens = options_.per_device_train_tokens},
                                          parts_.model);
      double counts[kNumCounts] = {};
      for (const auto& micro : shard.micro_batches) {
        counts[0] += static_cast<double>(micro.num_targets());
        counts[1] += static_cast<double>(micro.num_tokens());
        counts[2] += micro.target_weight;
      }
      of_shards.insert(of_shards.end(), std::begin(counts), std::end(counts));
    }
  });
  if (failure.happened()) of_shards = {0.0, 0.0, 0.0, 1.0};
  clock_.enter(Phase::Reduce);
  // Before the first forward: the loss is divided by what *all* ranks train on.
  const auto counts = sum_over_shards(parts_.communicator, sharding_, of_shards, kNumCounts);
  if (counts[3] > 0) agree_or_throw(parts_.communicator, failure);
  update.num_targets = static_cast<std::int64_t>(counts[0]);
  update.input_tokens = static_cast<std::int64_t>(counts[1]);
  update.target_weight = counts[2];
  return update;
}

void Trainer::accumulate_gradients(Update& update) {
  auto& parameters = parts_.model.parameters();
  parameters.zero_gradients();
  if (update.target_weight == 0) return;
  detail::GradientTree tree{parameters, update.shards.size()};
  for (auto& shard : update.shards) {
    for (const auto& micro : shard.micro_batches) {
      const bool is_last = update.shards.size() == 1 && &micro == &shard.micro_batches.back();
      if (is_last) exchange_->begin_last_pass();
      shard.loss_sums.push_back(forward_backward(micro, 1.0 / update.target_weight));
    }
    tree.end_leaf();
  }
}

/// Adds a micro-batch's gradients, times `scale`; returns its summed loss.
at::Tensor Trainer::forward_backward(const PackedBatch& micro, double scale) {
  auto& model = parts_.model;
  if (micro.num_targets() == 0) return at::zeros({}, at::kDouble);
  clock_.enter(Phase::Forward);
  const DropoutKey dropout{static_cast<std::uint64_t>(state_.seed),
                           static_cast<std::uint64_t>(state_.global_step)};
  PackedForward forward{model, micro, model.has_dropout() ? &dropout : nullptr};
  const auto predicting = at::index_select(forward.hidden(), 0, micro.predictors);
  const auto head = head_loss(predicting.detach(), model.output_weight(), micro.targets,
                              {.with_gradient = true,
                               .scale = scale,
                               .label_smoothing = options_.label_smoothing_factor,
                               .target_weights = micro.weights});
  exchange_->wrote(model.output_weight());
  clock_.enter(Phase::Backward);
  forward.backward(predicting, head.hidden_gradient);
  return head.loss_sum;
}

void Trainer::reduce_gradients(const Update& update) {
  clock_.enter(Phase::Reduce);
  exchange_->finish(!update.failure.happened());
}

void Trainer::agree_on(Update& update) {
  clock_.enter(Phase::Optimizer);
  // Losses; gradients that are not finite; failures; where ranks own parts, squares of their norms.
  constexpr std::size_t kNumSums = 4;
  std::vector<double> of_shards;
  const auto failure = failure_of([&] {
    update.grad_norm = detail::norm_of_gradients(parts_.model.parameters(), summed_slices_);
    for (const auto& shard : update.shards) {
      double loss_sum = 0.0;
      for (const auto& sum : shard.loss_sums) loss_sum += sum.item<double>();
      of_shards.insert(of_shards.end(), {loss_sum, std::isfinite(update.grad_norm) ? 0.0 : 1.0, 0.0,
                                         update.grad_norm * update.grad_norm});
    }
  });
  if (!update.failure.happened()) update.failure = failure;
  if (update.failure.happened()) of_shards = {0.0, 0.0, 1.0, 0.0};
  clock_.enter(Phase::Reduce);
  const auto sums = sum_over_shards(parts_.communicator, sharding_, of_shards, kNumSums);
  if (sums[2] > 0) agree_or_throw(parts_.communicator, update.failure);
  clock_.enter(Phase::Optimizer);
  if (update.target_weight > 0) update.loss = sums[0] / update.target_weight;
  if (sums_are_dealt()) update.grad_norm = std::sqrt(sums[3]);
  update.is_finite = std::isfinite(update.loss) && sums[1] == 0;
  if (!update.is_finite) judge(update);
}

/// Whether this micro-batch alone gives a gradient that is finite. Overwrites the gradients.
bool Trainer::has_finite_gradient(const PackedBatch& micro, double scale) {
  auto& parameters = parts_.model.parameters();
  parameters.zero_gradients();
  forward_backward(micro, scale);
  return std::isfinite(detail::norm_of_gradients(parameters, parameters.whole()));
}

/// Ranks and samples whose loss is not finite or, where all are, whose gradient is not. The update
/// is lost already, so that its gradients may go. Collective.
std::string Trainer::describe_non_finite(const Update& update) {
  const bool by_loss = !std::isfinite(update.loss);
  std::string mine;
  run_agreed(parts_.communicator, [&] {
    for (const auto& shard : update.shards) {
      for (std::size_t i = 0; i < shard.loss_sums.size(); ++i) {
        const auto& micro = shard.micro_batches[i];
        const bool is_finite = by_loss ? std::isfinite(shard.loss_sums[i].item<double>())
                                       : has_finite_gradient(micro, 1.0 / update.target_weight);
        if (!is_finite) mine += listed(micro.samples);
      }
    }
  });
  std::string text;
  const auto all = all_gather_strings(parts_.communicator, mine);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].empty()) continue;
    text += (text.empty() ? "" : "; ") + std::string{"rank "} + std::to_string(rank) +
            ": among the samples" + all[rank];
  }
  return text.empty() ? "each micro-batch's is finite, their sum is not" : text + " of the call";
}

/// An update whose loss or gradient is not finite, the same on all ranks.
void Trainer::judge(Update& update) {
  const auto what = "loss or gradient is not finite at step " +
                    std::to_string(state_.global_step + 1) + " (loss " +
                    std::to_string(update.loss) + ", gradient norm " +
                    std::to_string(update.grad_norm) + "; " + describe_non_finite(update) +
                    "). The update was not applied";
  if (options_.on_non_finite == "skip") return parts_.log.warning(what);
  throw DivergedError{
      what + "; " + std::to_string(state_.updates_in_call) +
      " earlier updates of this call were. Lower learning_rate or look at the samples"};
}

void Trainer::clip_and_apply(const Update& update) {
  auto& parameters = parts_.model.parameters();
  keep_failure([&] {
    if (options_.max_grad_norm > 0) {
      // Source: torch's clip_grad_norm_.
      const double scale = options_.max_grad_norm / (update.grad_norm + 1e-6);
      for (const auto& slice : summed_slices_) {
        if (scale < 1.0) slice.of(parameters.groups()[slice.group].gradients).mul_(scale);
      }
    }
    optimizer_->step(update.learning_rate);
  });
  if (is_sharded()) share_parameters();
  keep_failure([&] { parameters.round_masters(); });
  ++state_.global_step;
}

/// What every rank's optimizer made of its part, on all ranks. It travels in the memory of the
/// gradients, which have done their work: there ranks exchange fastest.
void Trainer::share_parameters() {
  const c10::NoGradGuard no_grad;
  clock_.enter(Phase::Reduce);
  auto groups = parts_.model.parameters().groups();
  std::vector<FlatBuffer> buffers;
  for (const auto& slice : optimizer_->slices()) {
    const auto& group = groups[slice.group];
    slice.of(group.gradients).copy_(slice.of(group.trained()));
  }
  for (const auto& group : groups) buffers.push_back(detail::buffer_of(group.gradients));
  parts_.reducer.share(buffers);
  for (const auto& group : groups) group.trained().copy_(group.gradients);
  clock_.enter(Phase::Optimizer);
}

void Trainer::record(const Update& update, StepStats& stats) {
  clock_.enter(Phase::Evaluate);
  ++state_.updates_in_call;
  state_.samples_seen += update.num_samples;
  if (update.applies()) state_.tokens_seen += update.num_targets;
  stats.num_samples += update.num_samples;
  stats.input_tokens += update.input_tokens;
  if (!update.applies()) {
    ++stats.skipped;
    if (!update.is_finite) ++stats.non_finite;
    return;
  }
  const auto before = stats.target_weight;
  stats.num_tokens += update.num_targets;
  stats.target_weight += update.target_weight;
  stats.loss = (stats.loss * before + update.loss * update.target_weight) / stats.target_weight;
  stats.grad_norm = update.grad_norm;
  stats.learning_rate = update.learning_rate;
  stats.step = state_.global_step;
  ++stats.updates;
  stats.history.push_back({.step = state_.global_step,
                           .loss = update.loss,
                           .grad_norm = update.grad_norm,
                           .learning_rate = update.learning_rate,
                           .num_samples = update.num_samples,
                           .num_tokens = update.num_targets,
                           .target_weight = update.target_weight,
                           .input_tokens = update.input_tokens,
                           .seconds = now_seconds() - update.started});
  tell(&TrainerCallback::on_step_end, stats.history.back());
  log_if_due(stats.history.back());
}

/// Samples of a call that ended at max_steps before all were trained.
void Trainer::warn_of_untrained(const StepStats& stats,
                                std::span<const std::vector<std::int64_t>> pending) {
  if (!at_end() || stopped_ || options_.past_max_steps == "hold") return;
  std::int64_t num_samples = -stats.num_samples;
  for (const auto& chunk : pending) num_samples += static_cast<std::int64_t>(chunk.size());
  if (num_samples == 0 || stats.num_samples == 0) return;
  parts_.log.warning("step: max_steps is reached, " + std::to_string(num_samples) +
                     " samples of this call were not trained");
}

/// A number of updates that may be given as a share of all.
std::int64_t Trainer::whole_steps(double steps) const {
  return static_cast<std::int64_t>(
      std::ceil(steps < 1 ? steps * static_cast<double>(options_.max_steps) : steps));
}

void Trainer::log_if_due(const UpdateStats& update) {
  if (options_.logging_steps == 0) return;
  state_.logged_loss += update.loss * update.target_weight;
  state_.logged_weight += update.target_weight;
  if (update.step % whole_steps(options_.logging_steps) != 0) return;
  const LogRecord record{.step = update.step,
                         .loss = state_.logged_loss / state_.logged_weight,
                         .grad_norm = update.grad_norm,
                         .learning_rate = update.learning_rate};
  state_.logged_loss = state_.logged_weight = 0.0;
  if (parts_.communicator.rank() == 0) parts_.log.info(record.summary());
  tell(&TrainerCallback::on_log, record);
}

/// Of this rank, where it is time to compare; else none. A rank whose memory or arithmetic failed
/// in silence trains all others wrong.
std::vector<std::int64_t> Trainer::replica_digests_if_due(const Update& update) {
  const auto every = options_.replica_check_steps;
  if (every == 0 || !update.applies() || state_.global_step % every != 0) return {};
  if (parts_.communicator.size() == 1) return {};
  std::vector<std::int64_t> digests;
  keep_failure([&] { digests = detail::digests_of(parts_.model.parameters()); });
  return digests;
}

/// What came up in the update: failures, replicas that differ, requests. Collective.
StopRequest Trainer::agree_behind(const Update& update) {
  clock_.enter(Phase::Optimizer);
  const auto digests = replica_digests_if_due(update);
  clock_.enter(Phase::Reduce);
  return agreed_request(digests);
}

void Trainer::fail_diverged(const std::vector<std::int64_t>& digests) {
  throw DivergedError{
      "after update " + std::to_string(state_.global_step) + " " +
      detail::difference_of(parts_.communicator, digests, parts_.model.parameters()) +
      ": the replicas have diverged since update " +
      std::to_string(state_.global_step - options_.replica_check_steps) +
      ". Look for a failing machine, and go on from a checkpoint before that"};
}

/// The strongest request of all ranks since the last look, in one reduction on which rides whatever
/// else an update must agree on: failures, and the digests of the replicas where it is time to
/// compare them. Collective.
StopRequest Trainer::agreed_request(const std::vector<std::int64_t>& replica_digests) {
  const auto mine = parts_.stop_signal ? parts_.stop_signal->take() : StopRequest::None;
  stop_requested_ = stop_requested_ || mine == StopRequest::SaveAndStop;
  // Counted, since a signal to the whole job reaches its ranks in different updates: it is one
  // wish. A rank that it has not reached after a second was not sent it.
  if (now_seconds() - saves_obeyed_at_ > 1.0) {
    saves_requested_ = std::max(saves_requested_, saves_obeyed_);
  }
  const bool wants_save = mine == StopRequest::SaveAndContinue || save_time_is_up();
  saves_requested_ += wants_save ? 1 : 0;
  const auto digest = detail::folded(replica_digests);
  std::int64_t all[] = {stop_requested_ ? 1 : 0, saves_requested_, failure_.happened() ? 1 : 0,
                        digest, ~digest,  // the largest and, turned over, the smallest
                        saves_should_wait() ? 1 : 0,
                        saving_ && parts_.checkpoints->save_is_settled() ? 1 : 0};
  parts_.communicator.all_reduce(all, std::size(all), DType::Int64, ReduceOp::Max);
  if (all[2] > 0) agree_or_throw(parts_.communicator, std::exchange(failure_, {}));
  if (all[3] != ~all[4]) fail_diverged(replica_digests);
  saves_wait_ = all[5] > 0;
  save_is_settled_ = all[6] > 0;
  if (all[0] > 0) return StopRequest::SaveAndStop;
  saves_agreed_ = all[1];
  return saves_agreed_ > saves_obeyed_ ? StopRequest::SaveAndContinue : StopRequest::None;
}

bool Trainer::evaluate_if_due(const Update& update, StepStats& stats) {
  if (options_.eval_strategy == "no" || !update.applies()) return false;
  const bool due = options_.eval_strategy == "steps" &&
                   state_.global_step % whole_steps(options_.eval_steps) == 0;
  if (!due && state_.global_step != options_.max_steps) return false;
  clock_.enter(Phase::Evaluate);
  stats.eval.clear();
  for (const auto& set : evaluate()) {
    const auto figures = set.to_map();
    stats.eval.insert(stats.eval.end(), figures.begin(), figures.end());
  }
  clock_.enter(Phase::Reduce);
  return true;
}

/// Callbacks that are told of a checkpoint may ask for a stop.
template <typename Save>
StopRequest Trainer::asked_behind(StopRequest asked, Save&& save) {
  clock_.enter(Phase::Checkpoint);
  save();
  clock_.enter(Phase::Reduce);
  return std::max(asked, agreed_request());
}

void Trainer::save_if_due(const Update& update, StopRequest asked) {
  save_is_due_ = save_is_due_ || (update.applies() && options_.save_steps > 0 &&
                                  state_.global_step % options_.save_steps == 0);
  if (save_is_settled_) asked = asked_behind(asked, [&] { settle_save(); });
  const bool saves = (save_is_due_ && !saves_wait_) || asked != StopRequest::None;
  if (parts_.checkpoints != nullptr && saves) {
    const bool stops = asked == StopRequest::SaveAndStop;
    asked = asked_behind(asked, [&] { stops ? void(save()) : save_behind(); });
    if (asked == StopRequest::SaveAndStop) {  // a run that ends needs its checkpoint
      clock_.enter(Phase::Checkpoint);
      settle_save();
      if (saved_step_ != state_.global_step) save();
    }
  }
  if (asked == StopRequest::SaveAndStop) stopped_ = true;
}

void Trainer::finish(StepStats& stats, double started) {
  clock_.stop();
  turn_to("between steps");
  const auto device = parts_.model.parameters().options().device();
  if (options_.optimize_device_cache) release_kept_memory(device);
  struct RankTimes {
    std::array<double, kNumPhases> phases;
    double step, peak_memory;
    double of(Phase phase) const { return phases[static_cast<std::size_t>(phase)]; }
    double computing() const { return of(Phase::Data) + of(Phase::Forward) + of(Phase::Backward); }
    double training() const { return step - of(Phase::Evaluate) - of(Phase::Checkpoint); }
  };
  const RankTimes mine{clock_.seconds(), now_seconds() - started,
                       static_cast<double>(peak_memory(device))};
  double longest = -1.0, total = 0.0, peak = 0.0, training = 1e-9;
  const auto all = parts_.communicator.all_gather_bytes(std::as_bytes(std::span{&mine, 1}));
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    RankTimes times;
    std::memcpy(&times, all[rank].data(), sizeof times);
    for (std::size_t i = 0; i < kNumPhases; ++i) {
      stats.phase_times[i] = std::max(stats.phase_times[i], times.phases[i]);
    }
    stats.step_time = std::max(stats.step_time, times.step);
    training = std::max(training, times.training());
    peak = std::max(peak, times.peak_memory);
    total += times.computing();
    if (times.computing() <= longest) continue;
    longest = times.computing();
    stats.slowest_rank = static_cast<std::int64_t>(rank);
  }
  stats.stopped = stopped_;
  stats.peak_memory = static_cast<std::int64_t>(peak);
  stats.skew = total > 0 ? longest * static_cast<double>(all.size()) / total : 1.0;
  stats.tokens_per_second = static_cast<double>(stats.input_tokens) / training;
}

}  // namespace hone

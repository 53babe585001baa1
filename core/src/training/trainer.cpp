#include "hone/core/training/trainer.hpp"

#include <ATen/ops/index_select.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "hone/core/error.hpp"
#include "hone/core/training/loss.hpp"
#include "hone/core/training/micro_batches.hpp"
#include "hone/core/training/plans.hpp"
#include "training/tensor_bytes.hpp"

namespace hone {
namespace {

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

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

/// Units: bytes; the most this process ever had resident.
std::int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace

/// One optimizer update on its way through step().
struct Trainer::Update {
  std::vector<PackedBatch> micro_batches;  ///< of this rank
  std::int64_t num_samples = 0;            ///< over all ranks, as the counts below
  std::int64_t num_targets = 0;
  std::int64_t input_tokens = 0;
  at::Tensor nll_sum;  ///< of this rank; stays on the device until agree_on()
  double loss = 0.0;
  double grad_norm = 0.0;
  double learning_rate = 0.0;
  double started = 0.0;
  StopRequest asked = StopRequest::None;  ///< the strongest of all ranks
};

StepStats Trainer::step(const Batch& batch) {
  const double started = now_seconds();
  const auto [rows, truncated] = agreed_rows(parts_.communicator, batch, row_rules());
  begin_call(rows);
  const auto num_samples = static_cast<std::int64_t>(rows.size());
  const auto updates =
      plan_updates(num_samples, samples_per_update(num_samples), options_.shuffle_dataset,
                   static_cast<std::uint64_t>(state_.seed), static_cast<std::uint64_t>(state_.call));
  StepStats stats{.step = state_.global_step, .truncated = truncated};
  // A resumed call starts behind the updates that were applied before the interruption.
  const std::span pending =
      std::span{updates}.subspan(std::min(updates.size(), updates_done_in_call()));
  if (pending.empty()) end_call();
  for (std::size_t i = 0; i < pending.size() && !done(); ++i) {
    auto update = begin_update(rows, pending[i]);
    accumulate_gradients(update);
    reduce_gradients();
    agree_on(update);
    if (update.num_targets > 0) clip_and_apply(update);
    record(update, stats);
    if (i + 1 == pending.size()) end_call();
    save_if_due(update.asked, update.num_targets > 0);
  }
  finish(stats, started);
  return stats;
}

/// A resumed call must go on with the samples that it began with: its order is that of their places.
void Trainer::begin_call(std::span<const TokenRow> rows) {
  if (done()) return;  // nothing will be trained of them
  const auto digest = digest_of(rows);
  if (state_.updates_in_call > 0 && digest != state_.call_digest) {
    throw InputError{"step: a call was interrupted after " +
                     std::to_string(state_.updates_in_call) +
                     " of its updates, by a kill, a stop or max_steps, and this call, which continues "
                     "it, was given other samples. Pass the same ones, or resume from a checkpoint "
                     "between two calls"};
  }
  state_.call_digest = digest;
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

Trainer::Update Trainer::begin_update(std::span<const TokenRow> rows,
                                      std::span<const std::int64_t> chunk) {
  Update update;
  update.started = now_seconds();
  update.learning_rate = schedule_.at(state_.global_step);
  update.num_samples = static_cast<std::int64_t>(chunk.size());
  const auto share = share_of_rank(parts_.communicator, rows, chunk);
  parts_.log.debug("update " + std::to_string(state_.global_step + 1) + " trains samples" +
                   listed(share) + " of the call here");
  update.micro_batches = micro_batches(rows, share, parts_.collator,
                                       options_.per_device_train_batch_size,
                                       parts_.model.parameters().options().device());
  std::int64_t counts[2] = {0, 0};
  for (const auto& micro : update.micro_batches) {
    counts[0] += micro.num_targets();
    counts[1] += micro.ids.size(0);
  }
  // Before the first forward: the loss is divided by what *all* ranks train on.
  all_reduce_sum(parts_.communicator, std::span<std::int64_t>{counts});
  update.num_targets = counts[0];
  update.input_tokens = counts[1];
  return update;
}

void Trainer::accumulate_gradients(Update& update) {
  auto& model = parts_.model;
  model.parameters().zero_gradients();
  update.nll_sum = at::zeros({}, model.parameters().options().dtype(at::kDouble));
  if (update.num_targets == 0) return;
  const double scale = 1.0 / static_cast<double>(update.num_targets);
  for (const auto& micro : update.micro_batches) {
    if (micro.num_targets() == 0) continue;
    SegmentedCausalAttention attention{micro.lengths};
    const auto hidden = model.forward(micro.ids, micro.positions, attention);
    const auto predicting = at::index_select(hidden, 0, micro.predictors);
    const auto head = head_loss(predicting.detach(), model.output_weight(), micro.targets,
                                /*with_gradient=*/true, scale);
    update.nll_sum.add_(head.nll_sum);
    predicting.backward(head.hidden_gradient);
  }
}

void Trainer::reduce_gradients() {
  std::vector<GradientBuffer> buffers;
  for (auto& group : parts_.model.parameters().groups()) {
    buffers.push_back({group.gradients.mutable_data_ptr(), group.gradients.numel(),
                       detail::dtype_of(group.gradients)});
  }
  parts_.reducer.reduce(buffers);
}

void Trainer::agree_on(Update& update) {
  double norm_squared = 0.0;
  for (const auto& group : parts_.model.parameters().groups()) {
    // Blocks keep the float32 sums short; their results add up in float64.
    for (const auto& block : group.gradients.split(std::int64_t{1} << 16)) {
      const double norm = at::linalg_vector_norm(block).item<double>();
      norm_squared += norm * norm;
    }
  }
  update.grad_norm = std::sqrt(norm_squared);
  const auto asked = parts_.stop_signal ? parts_.stop_signal->take() : StopRequest::None;
  double shared[4] = {update.nll_sum.item<double>(), std::isfinite(norm_squared) ? 0.0 : 1.0,
                      asked == StopRequest::SaveAndContinue ? 1.0 : 0.0,
                      asked == StopRequest::SaveAndStop ? 1.0 : 0.0};
  all_reduce_sum(parts_.communicator, std::span<double>{shared});
  if (update.num_targets > 0) update.loss = shared[0] / static_cast<double>(update.num_targets);
  update.asked = shared[3] > 0   ? StopRequest::SaveAndStop
                 : shared[2] > 0 ? StopRequest::SaveAndContinue
                                 : StopRequest::None;
  if (!std::isfinite(update.loss) || shared[1] > 0) give_up_call(update);
}

void Trainer::give_up_call(const Update& update) {
  const auto applied = state_.updates_in_call;
  end_call();
  throw DivergedError{
      "loss or gradient is not finite at step " + std::to_string(state_.global_step + 1) +
      " (loss " + std::to_string(update.loss) + ", gradient norm " +
      std::to_string(update.grad_norm) + "). The update was not applied; " +
      std::to_string(applied) +
      " earlier updates of this call were. Lower learning_rate or look at the samples"};
}

void Trainer::clip_and_apply(const Update& update) {
  if (options_.max_grad_norm > 0) {
    // Source: torch's clip_grad_norm_.
    const double scale = options_.max_grad_norm / (update.grad_norm + 1e-6);
    if (scale < 1.0) {
      for (auto& group : parts_.model.parameters().groups()) group.gradients.mul_(scale);
    }
  }
  optimizer_->step(update.learning_rate);
  ++state_.global_step;
}

void Trainer::record(const Update& update, StepStats& stats) {
  ++state_.updates_in_call;
  state_.samples_seen += update.num_samples;
  state_.tokens_seen += update.num_targets;
  stats.num_samples += update.num_samples;
  stats.input_tokens += update.input_tokens;
  if (update.num_targets == 0) {
    ++stats.skipped;
    return;
  }
  const auto before = static_cast<double>(stats.num_tokens);
  stats.num_tokens += update.num_targets;
  stats.loss = (stats.loss * before + update.loss * static_cast<double>(update.num_targets)) /
               static_cast<double>(stats.num_tokens);
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
                           .input_tokens = update.input_tokens,
                           .seconds = now_seconds() - update.started});
  if (on_update) on_update(stats.history.back());
}

void Trainer::save_if_due(StopRequest asked, bool applied) {
  const bool due = applied && options_.save_steps > 0 &&
                   state_.global_step % options_.save_steps == 0;
  if (parts_.checkpoints != nullptr && (due || asked != StopRequest::None)) save();
  if (asked == StopRequest::SaveAndStop) stopped_ = true;
}

void Trainer::finish(StepStats& stats, double started) {
  double slowest = now_seconds() - started;
  parts_.communicator.all_reduce(&slowest, 1, DType::Float64, ReduceOp::Max);
  std::int64_t peak = peak_resident_bytes();
  parts_.communicator.all_reduce(&peak, 1, DType::Int64, ReduceOp::Max);
  stats.stopped = stopped_;
  stats.step_time = slowest;
  stats.peak_memory = peak;
  stats.tokens_per_second = static_cast<double>(stats.input_tokens) / std::max(slowest, 1e-9);
}

}  // namespace hone

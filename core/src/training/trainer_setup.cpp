// What a Trainer is built from, and what it does between steps: generate, evaluate, stop.
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <chrono>
#include <cmath>
#include <numeric>

#include "hone/core/error.hpp"
#include "hone/core/training/loss.hpp"
#include "hone/core/training/plans.hpp"
#include "hone/core/training/trainer.hpp"
#include "training/parameter_digest.hpp"

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
      .max_steps = options.max_steps};
  schedule.validate();
  return schedule;
}

std::int64_t default_global_batch(const TrainerOptions& options, int num_ranks) {
  return options.global_train_batch_size.value_or(options.per_device_train_batch_size *
                                                  options.gradient_accumulation_steps * num_ranks);
}

}  // namespace

Trainer::Trainer(TrainerParts parts, TrainerOptions options)
    : parts_(std::move(parts)), options_(std::move(options)) {
  options_.validate();
  schedule_ = make_schedule(options_);
  state_.seed = options_.seed;
  state_.global_train_batch_size = default_global_batch(options_, parts_.communicator.size());
  parts_.model.parameters().enable_training();
  optimizer_ = parts_.optimizer
                   ? std::move(parts_.optimizer)
                   : std::make_unique<AdamW>(parts_.model.parameters(),
                                             AdamWOptions{.beta1 = options_.adam_beta1,
                                                          .beta2 = options_.adam_beta2,
                                                          .epsilon = options_.adam_epsilon,
                                                          .weight_decay = options_.weight_decay});
  detail::require_equal_parameters(parts_.communicator, parts_.model.parameters());
}

Trainer::~Trainer() = default;

std::vector<Completion> Trainer::generate(std::span<const PromptTokens> prompts,
                                          const GenerationOptions& options) {
  const auto& comm = parts_.communicator;
  std::vector<std::int64_t> lengths;
  for (const auto& prompt : prompts) {
    lengths.push_back(static_cast<std::int64_t>(prompt.ids.size()) + options.max_new_tokens);
  }
  std::vector<PromptTokens> share;
  const auto shares = balance_by_tokens(lengths, comm.size());
  for (const auto index : shares[static_cast<std::size_t>(comm.rank())]) {
    share.push_back(prompts[static_cast<std::size_t>(index)]);
  }
  std::vector<Completion> completions;
  run_agreed(parts_.communicator, [&] {
    completions = hone::generate(parts_.model, share, options,
                                 static_cast<std::uint64_t>(state_.seed),
                                 static_cast<std::uint64_t>(state_.generate_call));
    if (parts_.tokenizer == nullptr) return;
    for (auto& completion : completions) completion.text = parts_.tokenizer->decode(completion.ids);
  });
  // Greedy completions draw no numbers: an evaluation between rounds changes no later sample.
  if (options.do_sample) ++state_.generate_call;
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
  const c10::NoGradGuard no_grad;
  const auto started = std::chrono::steady_clock::now();
  const auto rows = agreed_rows(batch).rows;
  std::vector<std::int64_t> everything(rows.size());
  std::iota(everything.begin(), everything.end(), 0);
  double sums[2] = {0.0, 0.0};
  const auto share = share_of_this_rank(rows, everything);
  for (const auto& micro : collate(share, options_.per_device_eval_batch_size)) {
    if (micro.num_targets() == 0) continue;
    SegmentedCausalAttention attention{micro.lengths};
    const auto hidden = parts_.model.forward(micro.ids, micro.positions, attention);
    const auto head = head_loss(at::index_select(hidden, 0, micro.predictors),
                                parts_.model.output_weight(), micro.targets,
                                /*with_gradient=*/false, 1.0);
    sums[0] += head.nll_sum.item<double>();
    sums[1] += static_cast<double>(micro.num_targets());
  }
  all_reduce_sum(parts_.communicator, std::span<double>{sums});
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started;
  return {.loss = sums[1] > 0 ? sums[0] / sums[1] : 0.0,
          .num_samples = static_cast<std::int64_t>(rows.size()),
          .num_tokens = static_cast<std::int64_t>(sums[1]),
          .seconds = elapsed.count()};
}

bool Trainer::done() const {
  return stopped_ || (options_.max_steps > 0 && state_.global_step >= options_.max_steps);
}

bool Trainer::stop_if_asked() {
  const auto asked = parts_.stop_signal ? parts_.stop_signal->take() : StopRequest::None;
  auto strongest = static_cast<std::int64_t>(asked);
  parts_.communicator.all_reduce(&strongest, 1, DType::Int64, ReduceOp::Max);
  save_if_due(static_cast<StopRequest>(strongest), /*applied=*/false);
  return stopped_;
}

}  // namespace hone

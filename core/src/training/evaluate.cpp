#include "hone/core/training/evaluate.hpp"

#include <ATen/ops/index_select.h>
#include <c10/core/GradMode.h>

#include <chrono>
#include <numeric>

#include "hone/core/model/language_model.hpp"
#include "hone/core/training/loss.hpp"
#include "hone/core/training/micro_batches.hpp"
#include "hone/core/training/packed_forward.hpp"
#include "model/products.hpp"
#include "training/gathered_predictions.hpp"

namespace hone {
namespace {

std::string prefixed(const std::string& prefix, const std::string& name) {
  constexpr std::string_view kEval = "eval_";
  return prefix + (name.starts_with(kEval) ? name.substr(kEval.size()) : name);
}

}  // namespace

Metrics EvalStats::to_map() const {
  const std::string prefix = name.empty() ? "eval_" : "eval_" + name + '_';
  const auto per_second = [&](std::int64_t count) {
    return static_cast<double>(count) / std::max(seconds, 1e-9);
  };
  Metrics all{{prefix + "loss", loss},
              {prefix + "tokens", static_cast<double>(num_tokens)},
              {prefix + "runtime", seconds},
              {prefix + "samples_per_second", per_second(num_samples)},
              {prefix + "steps_per_second", per_second(num_batches)}};
  for (const auto& [metric, value] : metrics) all.emplace_back(prefixed(prefix, metric), value);
  return all;
}

EvalStats evaluate(LanguageModel& model, Communicator& comm, const Sharding& sharding,
                   const Collator& collator, GlobalRows& rows,
                   std::int64_t rows_per_micro_batch, const EvalHooks& hooks) {
  const c10::NoGradGuard no_grad;
  const auto started = std::chrono::steady_clock::now();
  std::vector<std::int64_t> everything(rows.rows.size());
  std::iota(everything.begin(), everything.end(), 0);
  const auto deal = deal_rows(sharding, rows, everything);
  move_rows(comm, sharding, {&deal, 1}, rows);
  const int num_start_tokens = model.shape().is_encoder_decoder ? 1 : 0;
  detail::GatheredPredictions predictions{rows.rows, hooks, num_start_tokens};
  constexpr std::size_t kNumSums = 5;  // loss, weight of targets, targets, micro-batches; failures
  std::vector<double> of_shards;
  const auto failure = failure_of([&] {
    for (const auto& share : shards_of_rank(sharding, deal)) {
      double sums[kNumSums] = {};
      for (const auto& micro :
           micro_batches(rows.rows, share, collator, {.rows = rows_per_micro_batch}, model)) {
        sums[3] += 1;
        if (micro.num_targets() == 0 && !hooks.compute_metrics) continue;
        const PackedForward forward{model, micro};
        const auto& hidden = forward.hidden();
        if (hooks.compute_metrics) {
          predictions.add(micro.samples, micro.lengths,
                          detail::product(hidden, model.output_weight().t()));
        }
        const auto head =
            head_loss(at::index_select(hidden, 0, micro.predictors), model.output_weight(),
                      micro.targets, {.target_weights = micro.weights});
        sums[0] += head.loss_sum.item<double>();
        sums[1] += micro.target_weight;
        sums[2] += static_cast<double>(micro.num_targets());
      }
      of_shards.insert(of_shards.end(), sums, sums + kNumSums);
    }
  });
  if (failure.happened()) of_shards = {0.0, 0.0, 0.0, 0.0, 1.0};
  const auto sums = sum_over_shards(comm, sharding, of_shards, kNumSums);
  if (sums[4] > 0) agree_or_throw(comm, failure);
  EvalStats stats{.name = {},
                  .loss = sums[1] > 0 ? sums[0] / sums[1] : 0.0,
                  .num_samples = rows.size(),
                  .num_tokens = static_cast<std::int64_t>(sums[2]),
                  .target_weight = sums[1],
                  .truncated = rows.truncated,
                  .num_batches = static_cast<std::int64_t>(sums[3]),
                  .metrics = predictions.metrics(comm)};
  stats.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  comm.all_reduce(&stats.seconds, 1, DType::Float64, ReduceOp::Max);
  return stats;
}

}  // namespace hone

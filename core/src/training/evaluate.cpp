#include "hone/core/training/evaluate.hpp"

#include <ATen/ops/index_select.h>
#include <c10/core/GradMode.h>

#include <chrono>
#include <numeric>

#include "hone/core/model/language_model.hpp"
#include "hone/core/training/loss.hpp"
#include "hone/core/training/micro_batches.hpp"

namespace hone {

EvalStats evaluate(LanguageModel& model, Communicator& comm, const Collator& collator,
                   const GlobalRows& rows, std::int64_t rows_per_micro_batch) {
  const c10::NoGradGuard no_grad;
  const auto started = std::chrono::steady_clock::now();
  std::vector<std::int64_t> everything(rows.rows.size());
  std::iota(everything.begin(), everything.end(), 0);
  double sums[3] = {0.0, 0.0, 0.0};
  for (const auto& micro :
       micro_batches(rows.rows, share_of_rank(comm, rows.rows, everything), collator,
                     rows_per_micro_batch, model.parameters().options())) {
    if (micro.num_targets() == 0) continue;
    SegmentedCausalAttention attention{micro.lengths};
    const auto hidden = model.forward(micro.ids, micro.positions, attention);
    const auto head = head_loss(at::index_select(hidden, 0, micro.predictors),
                                model.output_weight(), micro.targets,
                                {.target_weights = micro.weights});
    sums[0] += head.loss_sum.item<double>();
    sums[1] += micro.target_weight;
    sums[2] += static_cast<double>(micro.num_targets());
  }
  all_reduce_sum(comm, std::span<double>{sums});
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started;
  return {.loss = sums[1] > 0 ? sums[0] / sums[1] : 0.0,
          .num_samples = static_cast<std::int64_t>(rows.rows.size()),
          .num_tokens = static_cast<std::int64_t>(sums[2]),
          .seconds = elapsed.count()};
}

}  // namespace hone

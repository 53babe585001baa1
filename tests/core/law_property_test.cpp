// The law for whatever comes: N ranks compute what one rank computes in one micro-batch, for random
// samples, masks, weights, options and splits. law_test.cpp has the cases with AdamW.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <ostream>

#include "hone/distributed/loopback_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/random_samples.hpp"
#include "support/rank_threads.hpp"
#include "support/split_training.hpp"

namespace hone::testing {
namespace {

constexpr std::size_t kMostSamples = 10;
constexpr int kMostRanks = 4;

struct Case {
  std::vector<RandomSample> samples;
  TrainerOptions options;
  Split split;
  int ranks = 1;
  std::int64_t calls = 1;
  bool gpt2 = false;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  const auto& o = c.options;
  out << (c.gpt2 ? "gpt2 with dropout" : "llama") << ", " << c.calls << " calls, " << c.ranks << " ranks, "
      << c.split.name() << ", holders";
  for (const int holder : c.split.holders) out << ' ' << holder;
  out << "\naccumulation " << o.gradient_accumulation_steps << ", updates of "
      << o.global_train_batch_size.value_or(0) << " (" << o.updates_per_step << "), shuffle "
      << o.shuffle_dataset << ", warmup " << o.warmup_steps << ", max_grad_norm "
      << o.max_grad_norm << ", momentum " << o.momentum << ", decay " << o.weight_decay
      << ", smoothing " << o.label_smoothing_factor << '\n';
  for (const auto& sample : c.samples) out << sample << '\n';
  return out;
}

rc::Gen<TrainerOptions> random_options() {
  using O = TrainerOptions;
  using rc::gen::element;
  using rc::gen::set;
  const auto size = rc::gen::map(rc::gen::inRange<std::int64_t>(0, kMostSamples + 2), [](auto n) {
    return n == 0 ? std::nullopt : std::optional{n};
  });
  return rc::gen::build<O>(
      set(&O::gradient_accumulation_steps, rc::gen::inRange<std::int64_t>(1, 4)),
      set(&O::global_train_batch_size, size),
      set(&O::updates_per_step, rc::gen::weightedElement<std::string>({{3, "all"}, {1, "one"}})),
      set(&O::shuffle_dataset), set(&O::learning_rate, rc::gen::just(0.05)),
      set(&O::lr_scheduler_type, rc::gen::just(std::optional<std::string>{"linear"})),
      set(&O::max_steps, rc::gen::just<std::int64_t>(40)), set(&O::warmup_steps, element(0.0, 2.0)),
      set(&O::weight_decay, element(0.0, 0.1)), set(&O::max_grad_norm, element(1.0, 0.0, 100.0)),
      // Not Adam, which turns the rounding of gradients that are zero on paper into moves.
      set(&O::optim, rc::gen::just(std::string{"sgd"})), set(&O::momentum, element(0.0, 0.9)),
      set(&O::label_smoothing_factor, element(0.0, 0.1)));
}

rc::Gen<Split> random_split() {
  return rc::gen::build<Split>(
      rc::gen::set(&Split::rows_per_micro_batch,
                   rc::gen::inRange<std::int64_t>(1, kMostSamples + 1)),
      rc::gen::set(&Split::padded),
      rc::gen::set(&Split::scope, rc::gen::element(BatchScope::Replicated, BatchScope::PerRank,
                                                   BatchScope::Root)),
      rc::gen::set(&Split::holders, rc::gen::container<std::vector<int>>(
                                        kMostSamples, rc::gen::inRange(0, kMostRanks))));
}

rc::Gen<Case> random_case() {
  using rc::gen::set;
  return rc::gen::build<Case>(set(&Case::samples, random_samples(kMostSamples)),
                              set(&Case::options, random_options()),
                              set(&Case::split, random_split()),
                              set(&Case::ranks, rc::gen::inRange(1, kMostRanks + 1)),
                              set(&Case::calls, rc::gen::inRange<std::int64_t>(1, 3)),
                              set(&Case::gpt2));
}

/// One rank, one micro-batch an update, no masks.
TrainingRecord train_plainly(const std::filesystem::path& model, const Case& c) {
  auto options = c.options;
  // Unset, it would follow from a split that this training does not have.
  if (!options.global_train_batch_size) {
    options.global_train_batch_size =
        c.split.rows_per_micro_batch * options.gradient_accumulation_steps * c.ranks;
  }
  distributed::LoopbackCommunicator alone;
  return train_split(model, alone, {}, without_masks(c.samples), options, c.calls, at::kDouble);
}

std::int64_t targets_in(const std::vector<RandomSample>& samples) {
  std::int64_t targets = 0;
  for (const auto& sample : samples) targets += without_padding(sample).num_targets();
  return targets;
}

RC_GTEST_PROP(Law, HoldsForAnyBatchAndSplit, ()) {
  static const FixtureModel llama{llama_config(), Fill::Random, /*seed=*/3};
  static const FixtureModel gpt2{config_named("gpt2_dropout"), Fill::Random, /*seed=*/3};
  auto c = *random_case();
  for (auto& holder : c.split.holders) holder %= c.ranks;
  const auto& model = (c.gpt2 ? gpt2 : llama).folder();

  const auto expected = train_plainly(model, c);
  const auto records = on_ranks(c.ranks, [&](Communicator& comm) {
    return train_split(model, comm, c.split, with_masks(c.samples), c.options, c.calls,
                       at::kDouble);
  });
  for (const auto& record : records) RC_ASSERT(difference(record, expected) == "");

  RC_ASSERT(expected.num_samples == c.calls * static_cast<std::int64_t>(c.samples.size()));
  if (expected.skipped == 0) RC_ASSERT(expected.num_tokens == c.calls * targets_in(c.samples));
  RC_CLASSIFY(expected.losses.empty(), "nothing to learn");
  RC_CLASSIFY(expected.losses.size() > 1, "several updates");
}

}  // namespace
}  // namespace hone::testing

#include "support/split_training.hpp"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "fakes/late_communicator.hpp"
#include "hone/collators/seq2seq_collator.hpp"
#include "hone/distributed/loopback_communicator.hpp"
#include "support/fixture_model.hpp"
#include "support/trainer_harness.hpp"

namespace hone::testing {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

Tensors values_of(LanguageModel& model) {
  Tensors values;
  for (const auto& parameter : model.parameters().all()) {
    values[parameter.name] = parameter.value.detach().to(at::kCPU, at::kDouble).clone();
  }
  return values;
}

Tensors gradients_of(LanguageModel& model) {
  Tensors gradients;
  for (const auto& parameter : model.parameters().all()) {
    gradients[parameter.name] = parameter.value.grad().to(at::kCPU, at::kDouble).clone();
  }
  return gradients;
}

void expect_close(const std::vector<double>& got, const std::vector<double>& expected,
                  double tolerance, const char* what) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i] / expected[i], 1.0, tolerance) << what << " of update " << i;
  }
}

constexpr double kTolerance = 1e-9;  ///< relative, of one training in float64 split in two ways

void compare(const char* what, const std::vector<double>& got, const std::vector<double>& expected,
             std::string& found) {
  const bool same = std::ranges::equal(got, expected, [](double a, double b) {
    return std::abs(a - b) <= kTolerance * std::abs(b);
  });
  if (same) return;
  found += std::string{what} + " " + ::testing::PrintToString(got) + " instead of " +
           ::testing::PrintToString(expected) + "\n";
}

std::vector<double> counts_of(const TrainingRecord& record) {
  std::vector<double> counts;
  for (const auto count :
       {record.num_samples, record.num_tokens, record.input_tokens, record.skipped}) {
    counts.push_back(static_cast<double>(count));
  }
  return counts;
}

double norm_of(const Tensors& tensors) {
  double squares = 0.0;
  for (const auto& [name, tensor] : tensors) squares += tensor.square().sum().item<double>();
  return std::sqrt(squares);
}

void compare(const char* what, const Tensors& got, const Tensors& expected, std::string& found) {
  // A gradient that is zero on paper is noise of the size of the others' rounding.
  const double noise = 1e-13 * norm_of(expected);
  for (const auto& [name, tensor] : expected) {
    const double distance = (got.at(name) - tensor).norm().item<double>();
    const double norm = tensor.norm().item<double>();
    if (distance <= kTolerance * norm + noise) continue;
    found += std::string{what} + " of " + name + " is " + std::to_string(distance / norm) +
             " of its norm off\n";
  }
}

}  // namespace

std::string Split::name() const {
  const char* scopes[] = {"Replicated", "PerRank", "Root"};
  return std::to_string(rows_per_micro_batch) + " rows, " + (padded ? "padded" : "packed") + ", " +
         scopes[static_cast<int>(scope)] + (sharded ? ", zero1" : "") +
         (late ? ", late" : "");
}

std::vector<Split> all_splits() {
  std::vector<Split> splits;
  for (const std::int64_t rows : {1, 2, 64}) {
    for (const bool padded : {false, true}) {
      for (const auto scope : {BatchScope::Replicated, BatchScope::PerRank, BatchScope::Root}) {
        splits.push_back({rows, padded, scope});
      }
    }
  }
  splits.push_back({.rows_per_micro_batch = 2, .scope = BatchScope::PerRank, .sharded = true});
  splits.push_back({.rows_per_micro_batch = 2, .scope = BatchScope::PerRank, .late = true});
  splits.push_back(
      {.rows_per_micro_batch = 64, .scope = BatchScope::PerRank, .sharded = true, .late = true});
  return splits;
}

Batch part_of_rank(const Communicator& comm, const Split& split, const Batch& samples) {
  if (split.scope == BatchScope::Replicated) return samples;
  Batch part{.scope = split.scope};
  const int dealt_to = std::max(1, comm.size() - 1);
  const auto holder = [&](std::size_t i) {
    if (split.scope == BatchScope::Root) return 0;
    return split.holders.empty() ? static_cast<int>(i) % dealt_to : split.holders[i];
  };
  // From behind, so that only `order` can restore the given order.
  for (std::size_t i = samples.input_ids.size(); i-- > 0;) {
    const auto place = split.scope == BatchScope::Root ? samples.input_ids.size() - 1 - i : i;
    if (holder(place) != comm.rank()) continue;
    part.input_ids.push_back(samples.input_ids[place]);
    if (!samples.attention_mask.empty()) {
      part.attention_mask.push_back(samples.attention_mask[place]);
    }
    if (!samples.labels.empty()) part.labels.push_back(samples.labels[place]);
    if (!samples.weights.empty()) part.weights.push_back(samples.weights[place]);
    if (split.scope == BatchScope::PerRank) part.order.push_back(static_cast<std::int64_t>(place));
  }
  return part;
}

TrainingRecord train_split(const std::filesystem::path& model_folder, Communicator& comm,
                           const Split& split, const Batch& samples, TrainerOptions options,
                           std::int64_t num_calls, at::ScalarType dtype,
                           Communicator* reduce_on, at::Device device) {
  const collators::PaddingCollator padded{/*pad_id=*/0, /*pad_to_multiple_of=*/8};
  const collators::Seq2SeqCollator padded_pairs{/*pad_id=*/0};
  const bool has_sources = build_model(model_folder)->shape().is_encoder_decoder;
  const Collator* padding = &padded;
  if (has_sources) padding = &padded_pairs;
  options.per_device_train_batch_size = split.rows_per_micro_batch;
  if (split.sharded) options.optimizer_sharding = "zero1";
  LateCommunicator late{comm};
  TrainerHarness harness{model_folder, comm, std::move(options),
                         {.collator = split.padded ? padding : nullptr,
                          .dtype = dtype,
                          .device = device,
                          .reduce_on = split.late ? &late : reduce_on}};
  TrainingRecord record;
  const auto before = values_of(harness.model());
  for (std::int64_t call = 0; call < num_calls; ++call) {
    const auto stats = harness->step(part_of_rank(comm, split, samples));
    for (const auto& update : stats.history) {
      record.losses.push_back(update.loss);
      record.norms.push_back(update.grad_norm);
    }
    record.num_samples += stats.num_samples;
    record.num_tokens += stats.num_tokens;
    record.input_tokens += stats.input_tokens;
    record.skipped += stats.skipped;
  }
  record.updates = values_of(harness.model());
  for (auto& [name, value] : record.updates) value -= before.at(name);
  if (!split.sharded) record.gradients = gradients_of(harness.model());
  return record;
}

double relative_distance(const at::Tensor& got, const at::Tensor& expected) {
  return (got - expected).norm().item<double>() /
         std::max(expected.norm().item<double>(), 1e-300);
}

std::string difference(const TrainingRecord& got, const TrainingRecord& expected) {
  std::string found;
  compare("samples, targets, tokens, skipped updates", counts_of(got), counts_of(expected), found);
  compare("losses", got.losses, expected.losses, found);
  compare("norms", got.norms, expected.norms, found);
  if (!got.gradients.empty()) compare("gradient", got.gradients, expected.gradients, found);
  compare("update", got.updates, expected.updates, found);
  return found;
}

Batch law_samples() {
  Batch samples{.input_ids = ragged_sequences(6, /*longest=*/60, /*seed=*/11)};
  samples.labels = samples.input_ids;
  std::fill_n(samples.labels[0].begin(), 30, std::int64_t{-100});
  samples.weights = {1.0, 0.5, 2.0, 1.5, 0.0, 1.0};
  return samples;
}

void expect_updates_independent_of_split(const std::filesystem::path& model_folder,
                                         Communicator& comm, Communicator* reduce_on,
                                         at::Device device) {
  const TrainerOptions options{.global_train_batch_size = 5,
                               .learning_rate = 1e-2,
                               .lr_scheduler_type = "linear",
                               .max_steps = 8,
                               .weight_decay = 0.1};
  const auto samples = law_samples();
  distributed::LoopbackCommunicator alone;
  const auto reference = train_split(model_folder, alone, {}, samples, options, 2, at::kDouble);
  ASSERT_EQ(reference.losses.size(), 4U);
  for (const auto& split : all_splits()) {
    if (split.late && reduce_on != nullptr) continue;  // it is in the place of a late one
    SCOPED_TRACE(std::to_string(comm.size()) + " ranks, " + split.name());
    const auto got =
        train_split(model_folder, comm, split, samples, options, 2, at::kDouble, reduce_on, device);
    EXPECT_EQ(difference(got, reference), "");
  }
}

void expect_gradients_independent_of_split(const std::filesystem::path& model_folder,
                                           Communicator& comm) {
  // Without clipping the gradients stay as they were reduced.
  const TrainerOptions options{.updates_per_step = "one", .max_grad_norm = 0.0};
  const auto samples = law_samples();
  distributed::LoopbackCommunicator alone;
  const auto reference = train_split(model_folder, alone, {}, samples, options, 1, at::kFloat);
  for (const auto& split : all_splits()) {
    SCOPED_TRACE(std::to_string(comm.size()) + " ranks, " + split.name());
    const auto got = train_split(model_folder, comm, split, samples, options, 1, at::kFloat);
    expect_close(got.losses, reference.losses, 1e-6, "loss");
    expect_close(got.norms, reference.norms, 1e-6, "norm");
    for (const auto& [name, gradient] : reference.gradients) {
      if (split.sharded) break;  // its updates are the law's in float64
      if (gradient.norm().item<double>() < 1e-6 * reference.norms[0]) continue;
      EXPECT_LT(relative_distance(got.gradients.at(name), gradient), 1e-5) << name;
    }
  }
}

}  // namespace hone::testing

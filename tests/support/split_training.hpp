#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/core/training/batch.hpp"
#include "hone/core/training/trainer_options.hpp"

namespace hone::testing {

/// One way of splitting the same training over ranks and micro-batches; the default does not split.
struct Split {
  std::int64_t rows_per_micro_batch = 64;
  bool padded = false;  ///< rows padded to a multiple of 8 instead of packed
  BatchScope scope = BatchScope::Replicated;
  /// PerRank: which rank has each sample; empty: dealt in turn to all ranks but the last.
  std::vector<int> holders = {};
  bool sharded = false;  ///< optimizer_sharding zero1
  bool late = false;     ///< gradients are summed during the backward pass, on a LateCommunicator

  std::string name() const;
};

/// Every combination of micro-batches of 1, 2 and 64 rows, both collators and the three scopes; for
/// one of them also with the optimizer's state in parts, and with sums during the backward pass.
std::vector<Split> all_splits();

/// What a training computed; tensors by parameter name, in float64.
struct TrainingRecord {
  std::vector<double> losses, norms;            ///< of each update
  std::map<std::string, at::Tensor> updates;    ///< parameters at the end minus at the start
  /// As the last update applied them; none where each rank has but a part.
  std::map<std::string, at::Tensor> gradients;
  /// As step() counts them, over all calls.
  std::int64_t num_samples = 0, num_tokens = 0, input_tokens = 0, skipped = 0;
};

/// Samples as one rank passes them to step(). PerRank: `order` restores the given order. Root: rank
/// 0 has them.
Batch part_of_rank(const Communicator& comm, const Split& split, const Batch& samples);

/// Calls step() `num_calls` times with the same samples on a fresh model. Collective.
/// `reduce_on`: what sums the gradients; null: `comm`, or as the split says.
TrainingRecord train_split(const std::filesystem::path& model_folder, Communicator& comm,
                           const Split& split, const Batch& samples, TrainerOptions options,
                           std::int64_t num_calls, at::ScalarType dtype,
                           Communicator* reduce_on = nullptr, at::Device device = at::kCPU);

/// Relative L2 distance of `got` from `expected`.
double relative_distance(const at::Tensor& got, const at::Tensor& expected);

/// What `got` has that a split of the same training in float64 must not change, in words: counts,
/// losses, norms, gradients or updates that differ by more than 1e-9, relative. Empty: nothing.
std::string difference(const TrainingRecord& got, const TrainingRecord& expected);

/// Six samples with lengths of 30:1, one with its first half not trained, of different weights.
Batch law_samples();

/// The law in float64, on `device` what one rank computes on the CPU: two calls of two updates each
/// (five samples, then one, where some ranks have nothing to do) give losses, norms and each
/// tensor's update as one rank and micro-batch does.
void expect_updates_independent_of_split(const std::filesystem::path& model_folder,
                                         Communicator& comm, Communicator* reduce_on = nullptr,
                                         at::Device device = at::kCPU);

/// The law in float32: loss, norm and each tensor's gradient of one update.
void expect_gradients_independent_of_split(const std::filesystem::path& model_folder,
                                           Communicator& comm);

}  // namespace hone::testing

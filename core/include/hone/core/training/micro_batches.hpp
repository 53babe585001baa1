#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/core/training/collator.hpp"
#include "hone/core/training/packed_batch.hpp"
#include "hone/core/training/plans.hpp"
#include "hone/core/training/row_deal.hpp"

namespace hone {

/// Sum over all ranks' shards, in an order that the number of ranks does not change. `mine` has
/// `num_values` numbers for each shard of this rank, shard by shard. Collective.
std::vector<double> sum_over_shards(Communicator& comm, const Sharding& sharding,
                                    std::span<const double> mine, std::size_t num_values);

/// The rows that `share` names, which this rank holds, collated a few at a time and freed of
/// padding.
/// Throws: InputError for a collator that drops what the rows have or makes what `model` does not
/// know.
std::vector<PackedBatch> micro_batches(std::span<const TokenRow> rows,
                                       std::span<const std::int64_t> share,
                                       const Collator& collator,
                                       const MicroBatchLimits& limits, LanguageModel& model);

}  // namespace hone

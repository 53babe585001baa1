#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/core/training/collator.hpp"
#include "hone/core/training/packed_batch.hpp"

namespace hone {

/// How work is dealt: into `num_shards` parts, balanced by tokens, of which every rank has as many. As a
/// rule there are as many as ranks; with a fixed number of them what is computed does not depend on the
/// ranks, to the last bit.
struct Sharding {
  int num_shards = 1;
  int first = 0;  ///< this rank's shards: first .. first + count - 1
  int count = 1;

  static Sharding of_ranks(const Communicator& comm) { return {comm.size(), comm.rank(), 1}; }
  /// `num_shards` must be a multiple of the number of ranks.
  static Sharding fixed(const Communicator& comm, int num_shards) {
    const int count = num_shards / comm.size();
    return {num_shards, comm.rank() * count, count};
  }
};

/// This rank's shards of the rows that `chunk` names (every rank holds all rows): their places in `rows`.
/// Shards may be empty. No communication.
std::vector<std::vector<std::int64_t>> shards_of_rank(const Sharding& sharding,
                                                      std::span<const TokenRow> rows,
                                                      std::span<const std::int64_t> chunk);

/// Sum over all ranks' shards, in an order that the number of ranks does not change. `mine` has
/// `num_values` numbers for each shard of this rank, shard by shard. Collective.
std::vector<double> sum_over_shards(Communicator& comm, const Sharding& sharding,
                                    std::span<const double> mine, std::size_t num_values);

/// The rows that `share` names, collated a few at a time and freed of padding.
/// Throws: InputError for a collator that drops what the rows have or makes what `model` does not know.
std::vector<PackedBatch> micro_batches(std::span<const TokenRow> rows,
                                       std::span<const std::int64_t> share,
                                       const Collator& collator,
                                       std::int64_t rows_per_micro_batch, LanguageModel& model);

}  // namespace hone

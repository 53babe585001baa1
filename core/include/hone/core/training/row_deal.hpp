#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/core/training/row_exchange.hpp"

namespace hone {

/// How work is dealt: into `num_shards` parts, balanced by tokens, of which every rank has as many.
/// As a rule there are as many as ranks; with a fixed number of them what is computed does not
/// depend on the ranks, to the last bit.
struct Sharding {
  int num_shards = 1;
  int first = 0;  ///< this rank's shards: first .. first + count - 1
  int count = 1;
  bool is_fixed = false;  ///< who holds which rows does not matter either

  static Sharding of_ranks(const Communicator& comm) { return {comm.size(), comm.rank(), 1}; }
  /// `num_shards` must be a multiple of the number of ranks.
  static Sharding fixed(const Communicator& comm, int num_shards) {
    const int count = num_shards / comm.size();
    return {num_shards, comm.rank() * count, count, /*is_fixed=*/true};
  }
  int rank_of(int shard) const { return shard / count; }
};

/// Who computes what of one update or evaluation: places in the rows, one list a shard. Lists may
/// be empty.
using RowDeal = std::vector<std::vector<std::int64_t>>;

/// Deals the rows that `chunk` names. Of headers alone, so that all ranks know it without
/// communication: balanced by tokens; rows stay with their holders where that is as quick
/// (deal_by_tokens()), unless the sharding is fixed.
RowDeal deal_rows(const Sharding& sharding, const GlobalRows& rows,
                  std::span<const std::int64_t> chunk);

/// This rank's lists of a deal.
std::span<const std::vector<std::int64_t>> shards_of_rank(const Sharding& sharding,
                                                          const RowDeal& deal);

/// Sends rows to the ranks that the deals give them to, and notes these as their holders; a rank
/// keeps what it held before. No row is in two deals. One message for all of them; none where
/// nothing moves.
/// Collective.
void move_rows(Communicator& comm, const Sharding& sharding, std::span<const RowDeal> deals,
               GlobalRows& rows);

}  // namespace hone

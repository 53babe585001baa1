#pragma once

#include <cstdint>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/core/training/batch.hpp"
#include "hone/core/training/token_row.hpp"

namespace hone {

/// The samples of a step on every rank: all of them, in one order.
struct GlobalRows {
  std::vector<TokenRow> rows;
  std::int64_t truncated = 0;  ///< samples that were cut, over all ranks, each counted once
};

/// Makes what this rank has (`mine`, of which `truncated` were cut) what every rank has: Replicated
/// checks that all ranks hold the same, PerRank joins the ranks' lists in rank order, Root sends rank
/// 0's. Ids are a few bytes a token, so that all ranks can hold the whole list and every later
/// decision (order, shares) needs no further communication.
/// Collective. Throws: CommunicatorError naming a rank whose replicated batch differs.
GlobalRows exchange_rows(Communicator& comm, BatchScope scope, std::vector<TokenRow> mine,
                         std::int64_t truncated);

}  // namespace hone

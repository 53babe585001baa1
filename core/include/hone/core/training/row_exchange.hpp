#pragma once

#include <cstdint>
#include <span>
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

/// This rank's samples of a step.
struct LocalRows {
  std::vector<TokenRow> rows;
  std::vector<std::int64_t> order;  ///< Batch::order: empty, or one number a row
  std::int64_t truncated = 0;
};

/// Makes what this rank has what every rank has: Replicated checks that all ranks hold the same,
/// PerRank joins the ranks' lists in rank order and sorts them by `order` where there is one, Root
/// sends rank 0's. Ids are a few bytes a token, so that all ranks can hold the whole list and every later
/// decision (order, shares) needs no further communication.
/// Collective. Throws: InputError, on every rank alike, naming a rank whose replicated batch differs and
/// where.
GlobalRows exchange_rows(Communicator& comm, BatchScope scope, LocalRows mine);

/// Before ranks take different ways by their scopes. Collective. Throws: InputError, on every rank alike.
void require_one_scope(Communicator& comm, BatchScope scope);

/// A number that equal lists of rows share, and others practically never do.
std::int64_t digest_of(std::span<const TokenRow> rows);

}  // namespace hone

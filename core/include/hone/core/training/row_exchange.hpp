#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "hone/core/communicator.hpp"
#include "hone/core/training/batch.hpp"
#include "hone/core/training/token_row.hpp"

namespace hone {

/// The holder of a row that every rank holds.
constexpr int kEveryRank = -1;

/// What every rank knows of a row, whoever holds it.
struct RowHeader {
  std::int64_t num_tokens = 0;  ///< TokenRow::num_tokens()
  std::int64_t digest = 0;      ///< of its contents: digest_of(row)
  int holder = kEveryRank;      ///< the rank that computes on it or can send it, or kEveryRank
};

/// The samples of a step in one order, the same on every rank: headers of all of them, and the rows
/// that this rank holds. Every later decision (updates, shares) is made of the headers, alike on
/// all ranks, without communication; rows then go where they are needed (move_rows()).
struct GlobalRows {
  std::vector<RowHeader> headers;
  std::vector<TokenRow> rows;  ///< as many as headers; empty where this rank does not hold it
  std::int64_t truncated = 0;  ///< samples that were cut, over all ranks, each counted once

  std::int64_t size() const { return static_cast<std::int64_t>(headers.size()); }
};

/// This rank's samples of a step.
struct LocalRows {
  std::vector<TokenRow> rows;
  std::vector<std::int64_t> order;  ///< Batch::order: empty, or one number a row
  std::int64_t truncated = 0;
};

/// Makes what each rank has one list. Replicated checks that all ranks hold the same; PerRank joins
/// the ranks' lists in rank order and sorts them by `order` where there is one; Root is rank 0's.
/// The rows stay where they are: only 24 bytes of each travel. Collective. Throws: InputError, on
/// every rank alike, naming a rank whose replicated batch differs and where.
GlobalRows exchange_rows(Communicator& comm, BatchScope scope, LocalRows mine);

/// Before ranks take different ways by their scopes. Collective. Throws: InputError, on every rank
/// alike.
void require_one_scope(Communicator& comm, BatchScope scope);

/// A number that equal rows share, and others practically never do; that of a list, which depends
/// on its order too, is the same whoever holds the rows.
std::int64_t digest_of(const TokenRow& row);
std::int64_t digest_of(std::span<const TokenRow> rows);
std::int64_t digest_of(const GlobalRows& rows);

}  // namespace hone

#include "hone/core/training/row_deal.hpp"

#include <cstddef>
#include <utility>

#include "hone/core/training/plans.hpp"
#include "plans/row_words.hpp"

namespace hone {
namespace {

/// A row that is computed elsewhere than it lies.
struct Move {
  std::size_t place = 0;
  int from = 0, to = 0;
};

/// In one order on all ranks.
std::vector<Move> moves_of(const Sharding& sharding, std::span<const RowDeal> deals,
                           const GlobalRows& rows) {
  std::vector<Move> moves;
  for (const auto& deal : deals) {
    for (std::size_t shard = 0; shard < deal.size(); ++shard) {
      const int to = sharding.rank_of(static_cast<int>(shard));
      for (const auto place : deal[shard]) {
        const int from = rows.headers[static_cast<std::size_t>(place)].holder;
        if (from != kEveryRank && from != to) {
          moves.push_back({static_cast<std::size_t>(place), from, to});
        }
      }
    }
  }
  return moves;
}

void append(const TokenRow& row, std::vector<std::byte>& bytes) {
  detail::Words words;
  detail::append(row, words);
  const auto more = std::as_bytes(std::span{words});
  bytes.insert(bytes.end(), more.begin(), more.end());
}

}  // namespace

RowDeal deal_rows(const Sharding& sharding, const GlobalRows& rows,
                  std::span<const std::int64_t> chunk) {
  std::vector<std::int64_t> lengths;
  std::vector<int> holders;
  for (const auto place : chunk) {
    const auto& header = rows.headers[static_cast<std::size_t>(place)];
    lengths.push_back(header.num_tokens);
    holders.push_back(header.holder);
  }
  auto deal = sharding.is_fixed ? balance_by_tokens(lengths, sharding.num_shards)
                                : deal_by_tokens(lengths, holders, sharding.num_shards);
  for (auto& share : deal) {
    for (auto& position : share) position = chunk[static_cast<std::size_t>(position)];
  }
  return deal;
}

std::span<const std::vector<std::int64_t>> shards_of_rank(const Sharding& sharding,
                                                          const RowDeal& deal) {
  return std::span{deal}.subspan(static_cast<std::size_t>(sharding.first),
                                 static_cast<std::size_t>(sharding.count));
}

void move_rows(Communicator& comm, const Sharding& sharding, std::span<const RowDeal> deals,
               GlobalRows& rows) {
  const auto moves = moves_of(sharding, deals, rows);
  if (moves.empty()) return;
  std::vector<std::vector<std::byte>> to(static_cast<std::size_t>(comm.size()));
  for (const auto& move : moves) {
    if (move.from != comm.rank()) continue;
    append(rows.rows[move.place], to[static_cast<std::size_t>(move.to)]);
  }
  std::vector<detail::Words> from;
  for (const auto& bytes : comm.all_to_all_bytes(to)) from.push_back(detail::words_of(bytes));
  std::vector<std::span<const std::int64_t>> unread(from.begin(), from.end());
  for (const auto& move : moves) {
    rows.headers[move.place].holder = move.to;
    if (move.to != comm.rank()) continue;
    rows.rows[move.place] = detail::take_row(unread[static_cast<std::size_t>(move.from)]);
  }
}

}  // namespace hone

#include "hone/core/training/row_exchange.hpp"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <string>
#include <utility>

#include "hone/core/error.hpp"
#include "plans/row_words.hpp"

namespace hone {
namespace {

using detail::Words;

/// Whether samples came with their places in one order: ranks without samples have nothing to say.
enum class Ordered : std::int64_t { Nothing, No, Yes };

/// What a rank tells the others of its samples: how many were cut, whether they are ordered, then
/// of each its number in the order, its tokens and its digest.
constexpr std::size_t kWordsBefore = 2;
constexpr std::size_t kWordsOfHeader = 3;

Words headers_of(const LocalRows& local) {
  const auto ordered = local.rows.empty()    ? Ordered::Nothing
                       : local.order.empty() ? Ordered::No
                                             : Ordered::Yes;
  Words words{local.truncated, static_cast<std::int64_t>(ordered)};
  for (std::size_t i = 0; i < local.rows.size(); ++i) {
    words.insert(words.end(), {local.order.empty() ? 0 : local.order[i], local.rows[i].num_tokens(),
                               digest_of(local.rows[i])});
  }
  return words;
}

/// Of each row, its number in the order among them.
Words digests_of(std::span<const std::int64_t> headers) {
  Words digests;
  for (auto at = kWordsBefore; at < headers.size(); at += kWordsOfHeader) {
    digests.push_back(detail::digest(headers.subspan(at, kWordsOfHeader)));
  }
  return digests;
}

/// What makes the rows of one rank, by their digests, another list than those of rank 0.
std::string difference(const Words& rows, const Words& expected) {
  if (rows.size() != expected.size()) {
    return "was given " + std::to_string(rows.size()) + " samples and rank 0 " +
           std::to_string(expected.size());
  }
  const auto [mine, theirs] = std::ranges::mismatch(rows, expected);
  return "was given another sample " + std::to_string(mine - rows.begin()) + " than rank 0";
}

void require_replicated(Communicator& comm, std::span<const std::int64_t> headers) {
  const auto digests = digests_of(headers);
  const auto mine = detail::digest(digests);
  const auto all = comm.all_gather_bytes(std::as_bytes(std::span{&mine, 1}));
  if (std::ranges::all_of(all, [&](const auto& digest) { return digest == all[0]; })) return;
  const auto of_ranks = comm.all_gather_bytes(std::as_bytes(std::span{digests}));
  const auto odd = std::ranges::find_if(all, [&](const auto& digest) { return digest != all[0]; });
  const auto rank = static_cast<std::size_t>(odd - all.begin());
  throw InputError{"step: rank " + std::to_string(rank) + ' ' +
                   difference(detail::words_of(of_ranks[rank]), detail::words_of(of_ranks[0])) +
                   ", but the scope is Replicated (the same on every rank). Pass the same samples "
                   "everywhere, or use BatchScope::PerRank or Root"};
}

void require_one_order(const std::vector<Words>& of_ranks) {
  const auto rank_with = [&](Ordered ordered) {
    return std::ranges::find_if(of_ranks, [&](const Words& words) {
      return words[1] == static_cast<std::int64_t>(ordered);
    });
  };
  const auto with = rank_with(Ordered::Yes), without = rank_with(Ordered::No);
  if (with == of_ranks.end() || without == of_ranks.end()) return;
  throw InputError{"step: rank " + std::to_string(with - of_ranks.begin()) + " passed order and rank " +
                   std::to_string(without - of_ranks.begin()) +
                   " did not. Pass it on every rank that has samples, or on none"};
}

/// All rows in rank order, with their numbers in the caller's.
struct JoinedRows {
  GlobalRows rows;
  std::vector<std::int64_t> order;

  /// `held`: the rows themselves, or none of them.
  void add(std::span<const std::int64_t> headers, int holder, std::vector<TokenRow> held) {
    rows.truncated += headers[0];
    for (auto at = kWordsBefore; at < headers.size(); at += kWordsOfHeader) {
      order.push_back(headers[at]);
      rows.headers.push_back(
          {.num_tokens = headers[at + 1], .digest = headers[at + 2], .holder = holder});
    }
    std::ranges::move(held, std::back_inserter(rows.rows));
    rows.rows.resize(rows.headers.size());
  }

  GlobalRows sorted() && {
    std::vector<std::size_t> places(order.size());
    std::iota(places.begin(), places.end(), std::size_t{0});
    std::ranges::stable_sort(places, {}, [&](std::size_t place) { return order[place]; });
    GlobalRows result{.headers = {}, .rows = {}, .truncated = rows.truncated};
    for (const auto place : places) {
      result.headers.push_back(rows.headers[place]);
      result.rows.push_back(std::move(rows.rows[place]));
    }
    return result;
  }
};

std::vector<Words> gathered(Communicator& comm, const Words& mine) {
  std::vector<Words> of_ranks;
  for (const auto& bytes : comm.all_gather_bytes(std::as_bytes(std::span{mine}))) {
    of_ranks.push_back(detail::words_of(bytes));
  }
  return of_ranks;
}

Words of_root(Communicator& comm, Words words) {
  auto count = static_cast<std::int64_t>(words.size());
  comm.broadcast(&count, 1, DType::Int64, 0);
  words.resize(static_cast<std::size_t>(count));
  comm.broadcast(words.data(), count, DType::Int64, 0);
  return words;
}

}  // namespace

void require_one_scope(Communicator& comm, BatchScope scope) {
  std::int64_t extremes[2] = {static_cast<std::int64_t>(scope), -static_cast<std::int64_t>(scope)};
  comm.all_reduce(extremes, 2, DType::Int64, ReduceOp::Max);
  if (extremes[0] == -extremes[1]) return;
  constexpr const char* kNames[] = {"Replicated", "PerRank", "Root"};
  std::string scopes;
  for (const auto& name : all_gather_strings(comm, kNames[static_cast<int>(scope)])) {
    scopes += (scopes.empty() ? "" : ", ") + name;
  }
  throw InputError{"step: the ranks passed batches of different scopes, by rank: " + scopes +
                   ". Pass one scope on every rank"};
}

GlobalRows exchange_rows(Communicator& comm, BatchScope scope, LocalRows mine) {
  const auto headers = headers_of(mine);
  JoinedRows all;
  if (comm.size() == 1 || scope == BatchScope::Replicated) {
    if (comm.size() > 1) require_replicated(comm, headers);
    all.add(headers, kEveryRank, std::move(mine.rows));
  } else if (scope == BatchScope::PerRank) {
    const auto of_ranks = gathered(comm, headers);
    require_one_order(of_ranks);
    for (int rank = 0; rank < comm.size(); ++rank) {
      all.add(of_ranks[static_cast<std::size_t>(rank)], rank,
              rank == comm.rank() ? std::move(mine.rows) : std::vector<TokenRow>{});
    }
  } else {
    all.add(of_root(comm, headers), 0,
            comm.rank() == 0 ? std::move(mine.rows) : std::vector<TokenRow>{});
  }
  return std::move(all).sorted();
}

std::int64_t digest_of(const TokenRow& row) {
  Words words;
  detail::append(row, words);
  return detail::digest(words);
}

std::int64_t digest_of(std::span<const TokenRow> rows) {
  Words digests;
  for (const auto& row : rows) digests.push_back(digest_of(row));
  return detail::digest(digests);
}

std::int64_t digest_of(const GlobalRows& rows) {
  Words digests;
  for (const auto& header : rows.headers) digests.push_back(header.digest);
  return detail::digest(digests);
}

}  // namespace hone

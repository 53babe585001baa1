#include "hone/core/training/row_exchange.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>

#include "hone/core/error.hpp"

namespace hone {
namespace {

using Words = std::vector<std::int64_t>;

void append(const TokenRow& row, Words& words) {
  words.push_back(row.length());
  words.push_back(row.source_length());
  words.push_back(std::bit_cast<std::int64_t>(row.weight));
  for (const auto* list : {&row.ids, &row.labels, &row.source_ids}) {
    words.insert(words.end(), list->begin(), list->end());
  }
}

/// Row `i` behind its number in the order.
void append(const LocalRows& local, std::size_t i, Words& words) {
  words.push_back(local.order.empty() ? 0 : local.order[i]);
  append(local.rows[i], words);
}

/// Whether samples came with their places in one order: ranks without samples have nothing to say.
enum class Ordered : std::int64_t { Nothing, No, Yes };

Words pack(const LocalRows& local) {
  const auto ordered = local.rows.empty()    ? Ordered::Nothing
                       : local.order.empty() ? Ordered::No
                                             : Ordered::Yes;
  Words words{local.truncated, static_cast<std::int64_t>(ordered)};
  for (std::size_t i = 0; i < local.rows.size(); ++i) append(local, i, words);
  return words;
}

void unpack_into(std::span<const std::int64_t> words, LocalRows& all) {
  all.truncated += words[0];
  for (std::size_t at = 2; at < words.size();) {
    all.order.push_back(words[at++]);
    const auto length = static_cast<std::size_t>(words[at++]);
    const auto source_length = static_cast<std::size_t>(words[at++]);
    TokenRow row{.weight = std::bit_cast<double>(words[at++])};
    for (const auto& [list, count] : {std::pair{&row.ids, length}, {&row.labels, length},
                                      {&row.source_ids, source_length}}) {
      const auto part = words.subspan(at, count);
      list->assign(part.begin(), part.end());
      at += count;
    }
    all.rows.push_back(std::move(row));
  }
}

/// FNV-1a over 64-bit words.
std::int64_t digest(const Words& words) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const auto word : words) hash = (hash ^ static_cast<std::uint64_t>(word)) * 0x100000001b3ULL;
  return static_cast<std::int64_t>(hash);
}

/// Of each row with its order.
Words digests_of(const LocalRows& local) {
  Words digests;
  for (std::size_t i = 0; i < local.rows.size(); ++i) {
    Words words;
    append(local, i, words);
    digests.push_back(digest(words));
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

Words words_of(std::span<const std::byte> bytes) {
  Words words(bytes.size() / sizeof(std::int64_t));
  std::memcpy(words.data(), bytes.data(), bytes.size());
  return words;
}

void require_replicated(Communicator& comm, const LocalRows& local) {
  const auto digests = digests_of(local);
  const auto mine = digest(digests);
  const auto all = comm.all_gather_bytes(std::as_bytes(std::span{&mine, 1}));
  if (std::ranges::all_of(all, [&](const auto& digest) { return digest == all[0]; })) return;
  const auto of_ranks = comm.all_gather_bytes(std::as_bytes(std::span{digests}));
  const auto odd = std::ranges::find_if(all, [&](const auto& digest) { return digest != all[0]; });
  const auto rank = static_cast<std::size_t>(odd - all.begin());
  throw InputError{"step: rank " + std::to_string(rank) + ' ' +
                   difference(words_of(of_ranks[rank]), words_of(of_ranks[0])) +
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

GlobalRows sorted(LocalRows all) {
  std::vector<std::size_t> places(all.rows.size());
  std::iota(places.begin(), places.end(), std::size_t{0});
  if (!all.order.empty()) {
    std::stable_sort(places.begin(), places.end(), [&](std::size_t a, std::size_t b) {
      return all.order[a] < all.order[b];
    });
  }
  GlobalRows result{.rows = {}, .truncated = all.truncated};
  result.rows.reserve(places.size());
  for (const auto place : places) result.rows.push_back(std::move(all.rows[place]));
  return result;
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
  if (comm.size() == 1) return sorted(std::move(mine));
  if (scope == BatchScope::Replicated) {
    require_replicated(comm, mine);
    return sorted(std::move(mine));
  }
  LocalRows all;
  if (scope == BatchScope::PerRank) {
    const auto words = pack(mine);
    std::vector<Words> of_ranks;
    for (const auto& bytes : comm.all_gather_bytes(std::as_bytes(std::span{words}))) {
      of_ranks.push_back(words_of(bytes));
    }
    require_one_order(of_ranks);
    for (const auto& rank : of_ranks) unpack_into(rank, all);
    return sorted(std::move(all));
  }
  auto words = comm.rank() == 0 ? pack(mine) : Words{};
  auto count = static_cast<std::int64_t>(words.size());
  comm.broadcast(&count, 1, DType::Int64, 0);
  words.resize(static_cast<std::size_t>(count));
  comm.broadcast(words.data(), count, DType::Int64, 0);
  unpack_into(words, all);
  return sorted(std::move(all));
}

std::int64_t digest_of(std::span<const TokenRow> rows) {
  Words words;
  for (const auto& row : rows) append(row, words);
  return digest(words);
}

}  // namespace hone

#include "hone/core/training/plans.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include "hone/core/keyed_random.hpp"

namespace hone {
namespace {

/// Separates the streams that different purposes draw from one seed.
constexpr std::uint64_t kOrderPurpose = 0x6f72646572;  // "order"

std::int64_t largest_sum(std::span<const std::int64_t> lengths,
                         const std::vector<std::vector<std::int64_t>>& shares) {
  std::int64_t largest = 0;
  for (const auto& share : shares) {
    std::int64_t sum = 0;
    for (const auto item : share) sum += lengths[static_cast<std::size_t>(item)];
    largest = std::max(largest, sum);
  }
  return largest;
}

using Shares = std::vector<std::vector<std::int64_t>>;

/// Longest first, each to its holder where the holder's sum is then at most `room`; what is left,
/// longest first, to the rank with the least. Without holders all is left.
Shares deal_longest_first(std::span<const std::int64_t> lengths, int num_ranks,
                          std::span<const int> holders, std::int64_t room) {
  const auto length = [&](std::int64_t item) { return lengths[static_cast<std::size_t>(item)]; };
  std::vector<std::int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater{}, length);
  Shares shares(static_cast<std::size_t>(num_ranks));
  std::vector<std::int64_t> loads(shares.size(), 0);
  const auto give = [&](std::int64_t item, std::size_t rank) {
    shares[rank].push_back(item);
    loads[rank] += length(item);
  };
  std::vector<std::int64_t> left;
  for (const auto item : order) {
    const auto holder =
        holders.empty() ? shares.size()
                        : static_cast<std::size_t>(holders[static_cast<std::size_t>(item)]);
    if (holder < shares.size() && loads[holder] + length(item) <= room) {
      give(item, holder);
    } else {
      left.push_back(item);
    }
  }
  for (const auto item : left) {
    give(item, static_cast<std::size_t>(std::ranges::min_element(loads) - loads.begin()));
  }
  for (auto& share : shares) std::ranges::sort(share);
  return shares;
}

}  // namespace

std::vector<std::vector<std::int64_t>> plan_updates(std::int64_t num_samples,
                                                    std::int64_t samples_per_update, bool shuffle,
                                                    std::uint64_t seed, std::uint64_t call) {
  std::vector<std::int64_t> order;
  if (shuffle) {
    order = keyed_permutation(num_samples, KeyedRandom{seed, kOrderPurpose, call});
  } else {
    order.resize(static_cast<std::size_t>(num_samples));
    std::iota(order.begin(), order.end(), 0);
  }
  std::vector<std::vector<std::int64_t>> updates;
  for (std::int64_t begin = 0; begin < num_samples; begin += samples_per_update) {
    const auto end = std::min(begin + samples_per_update, num_samples);
    updates.emplace_back(order.begin() + begin, order.begin() + end);
  }
  return updates;
}

Shares balance_by_tokens(std::span<const std::int64_t> lengths, int num_ranks) {
  return deal_longest_first(lengths, num_ranks, {}, 0);
}

Shares deal_by_tokens(std::span<const std::int64_t> lengths, std::span<const int> holders,
                      int num_ranks) {
  auto balanced = balance_by_tokens(lengths, num_ranks);
  if (std::ranges::any_of(holders, [](int holder) { return holder < 0; })) return balanced;
  const auto most = (100 + kPercentToStay) * largest_sum(lengths, balanced);
  const auto is_quick = [&](const Shares& shares) {
    return 100 * largest_sum(lengths, shares) <= most;
  };
  const auto total = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  for (const auto room : {total, (total + num_ranks - 1) / num_ranks}) {
    auto shares = deal_longest_first(lengths, num_ranks, holders, room);
    if (is_quick(shares)) return shares;
  }
  return balanced;
}

std::vector<std::pair<std::int64_t, std::int64_t>> plan_micro_batches(
    std::span<const std::int64_t> lengths, const MicroBatchLimits& limits) {
  const auto count = static_cast<std::int64_t>(lengths.size());
  const auto pieces = (count + limits.rows - 1) / limits.rows;
  std::vector<std::pair<std::int64_t, std::int64_t>> cuts;
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    auto begin = count * piece / pieces;
    const auto end = count * (piece + 1) / pieces;
    std::int64_t tokens = 0;
    for (auto row = begin; row < end; ++row) {
      const auto length = lengths[static_cast<std::size_t>(row)];
      if (limits.tokens && row > begin && tokens + length > *limits.tokens) {
        cuts.emplace_back(begin, row);
        begin = row;
        tokens = 0;
      }
      tokens += length;
    }
    cuts.emplace_back(begin, end);
  }
  return cuts;
}

std::int64_t head_loss_rows(std::int64_t vocab_size) {
  constexpr std::int64_t kChunkLogits = std::int64_t{1} << 25;
  return std::max<std::int64_t>(1, kChunkLogits / vocab_size);
}

}  // namespace hone

#include "hone/core/training/plans.hpp"

#include <algorithm>
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

std::vector<std::vector<std::int64_t>> balance_by_tokens(std::span<const std::int64_t> lengths,
                                                         int num_ranks) {
  std::vector<std::int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return lengths[static_cast<std::size_t>(a)] > lengths[static_cast<std::size_t>(b)];
  });
  std::vector<std::vector<std::int64_t>> shares(static_cast<std::size_t>(num_ranks));
  std::vector<std::int64_t> loads(shares.size(), 0);
  for (const auto item : order) {
    const auto lightest = std::min_element(loads.begin(), loads.end()) - loads.begin();
    shares[static_cast<std::size_t>(lightest)].push_back(item);
    loads[static_cast<std::size_t>(lightest)] += lengths[static_cast<std::size_t>(item)];
  }
  for (auto& share : shares) std::sort(share.begin(), share.end());
  return shares;
}

std::vector<std::vector<std::int64_t>> deal_by_tokens(std::span<const std::int64_t> lengths,
                                                      std::span<const int> holders, int num_ranks) {
  auto balanced = balance_by_tokens(lengths, num_ranks);
  if (std::ranges::any_of(holders, [](int holder) { return holder < 0; })) return balanced;
  std::vector<std::vector<std::int64_t>> staying(balanced.size());
  for (std::size_t item = 0; item < holders.size(); ++item) {
    staying[static_cast<std::size_t>(holders[item])].push_back(static_cast<std::int64_t>(item));
  }
  const bool as_quick = 100 * largest_sum(lengths, staying) <=
                        (100 + kPercentToStay) * largest_sum(lengths, balanced);
  return as_quick ? staying : balanced;
}

std::vector<std::pair<std::int64_t, std::int64_t>> plan_micro_batches(
    std::int64_t count, std::int64_t rows_per_micro_batch) {
  std::vector<std::pair<std::int64_t, std::int64_t>> cuts;
  const auto pieces = (count + rows_per_micro_batch - 1) / rows_per_micro_batch;
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    cuts.emplace_back(count * piece / pieces, count * (piece + 1) / pieces);
  }
  return cuts;
}

std::int64_t head_loss_rows(std::int64_t vocab_size) {
  constexpr std::int64_t kChunkLogits = std::int64_t{1} << 24;
  return std::max<std::int64_t>(1, kChunkLogits / vocab_size);
}

}  // namespace hone

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace hone {

/// The optimizer updates of one step() call: indices into the call's samples, one list an update.
///
/// A permutation keyed by (seed, call) where `shuffle`, else the given order, cut into chunks of
/// `samples_per_update`; the last is smaller, nothing is dropped. Depends on nothing else, least of
/// all on the number of ranks.
std::vector<std::vector<std::int64_t>> plan_updates(std::int64_t num_samples,
                                                    std::int64_t samples_per_update, bool shuffle,
                                                    std::uint64_t seed, std::uint64_t call);

/// Deals items to ranks so that the largest sum of lengths is small: longest first, each to the
/// rank with the least so far (the lowest on ties). Each rank's list keeps the items' order.
/// Units: lengths in tokens. Returns one list of positions into `lengths` per rank; lists may be
/// empty.
std::vector<std::vector<std::int64_t>> balance_by_tokens(std::span<const std::int64_t> lengths,
                                                         int num_ranks);

/// How much longer, by a hundredth, the longest share may be that saves moving items between ranks.
constexpr std::int64_t kPercentToStay = 2;

/// Shares of items that lie on ranks already, of which the largest sum of lengths is at most
/// kPercentToStay more than balance_by_tokens() has: all stay where they are if that will do, else
/// each rank keeps what fits into the mean and the rest is dealt, else all are. `holders[i]` is the
/// rank that has item i; where any is negative, all ranks have the items and nothing needs to stay.
std::vector<std::vector<std::int64_t>> deal_by_tokens(std::span<const std::int64_t> lengths,
                                                      std::span<const int> holders, int num_ranks);

/// What a rank computes at once.
struct MicroBatchLimits {
  std::int64_t rows = 8;
  std::optional<std::int64_t> tokens;  ///< padding not counted; a longer row is alone. Null: no limit
};

/// Cuts rows of so many tokens into consecutive micro-batches; of nearly equal numbers of rows
/// where those do not divide, and each of these again where it has too many tokens.
std::vector<std::pair<std::int64_t, std::int64_t>> plan_micro_batches(
    std::span<const std::int64_t> lengths, const MicroBatchLimits& limits);

/// Rows of logits that head_loss() holds at once: 32 Mi numbers (128 MiB in float32) keep the
/// products large, and the head's gradient is read and written for each chunk of them.
std::int64_t head_loss_rows(std::int64_t vocab_size);

}  // namespace hone

#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hone::checkpoints::detail {

/// Which rank takes each item, so that the ranks' bytes are as even as whole items allow: the
/// largest first, each to the rank with the fewest bytes so far (the lower rank on a tie). At most
/// 4/3 of the best possible maximum. A pure function: every rank computes the same.
/// Source: R. L. Graham, Bounds on Multiprocessing Timing Anomalies (1969).
std::vector<int> assign_by_bytes(std::span<const std::int64_t> bytes, int num_ranks);

}  // namespace hone::checkpoints::detail

#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace hone {

/// The candidate that somebody who typed `unknown` most likely meant, or none where nothing is
/// near.
///
/// Knows slips of the keyboard (two swapped letters count as one), other cases and dashes, initials
/// ("lr" is learning_rate), shortenings ("temp", "batch_size") and a right last part of a dotted
/// name in the wrong place. Ties go to the earlier candidate.
std::optional<std::string> nearest_name(std::string_view unknown,
                                        std::span<const std::string> candidates);

}  // namespace hone

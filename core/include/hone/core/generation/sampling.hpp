#pragma once

#include <cstdint>
#include <span>

namespace hone {

/// The order of processing is transformers': temperature, then top-k, then top-p.

/// In place; subtracts nothing else. Shape: one row of logits.
void apply_temperature(std::span<float> logits, double temperature);
/// Sets all below the k-th largest to minus infinity; ties survive. k <= 0 or >= size: nothing.
void keep_top_k(std::span<float> logits, std::int64_t k);
/// Sets all outside the smallest set of probability >= p to minus infinity; keeps at least one.
void keep_top_p(std::span<float> logits, double p);

/// The index at which the cumulative sum of `probabilities` passes `uniform` in [0, 1); never one
/// of probability zero.
std::int64_t pick(std::span<const float> probabilities, double uniform);
/// The largest; the first of equals.
std::int64_t pick_greedy(std::span<const float> logits);

}  // namespace hone

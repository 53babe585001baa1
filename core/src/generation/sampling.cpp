#include "hone/core/generation/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace hone {
namespace {

constexpr float kExcluded = -std::numeric_limits<float>::infinity();

}  // namespace

void apply_temperature(std::span<float> logits, double temperature) {
  if (temperature == 1.0) return;
  const auto inverse = static_cast<float>(1.0 / temperature);
  for (auto& logit : logits) logit *= inverse;
}

void keep_top_k(std::span<float> logits, std::int64_t k) {
  if (k <= 0 || k >= static_cast<std::int64_t>(logits.size())) return;
  std::vector<float> sorted{logits.begin(), logits.end()};
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<>{});
  const float threshold = sorted[static_cast<std::size_t>(k - 1)];
  for (auto& logit : logits) {
    if (logit < threshold) logit = kExcluded;
  }
}

void keep_top_p(std::span<float> logits, double p) {
  if (p >= 1.0) return;
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
  const float largest = logits[order.front()];
  double total = 0.0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit - largest));
  double cumulative = 0.0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    // A token stays while the ones before it fall short of p.
    if (i > 0 && cumulative >= p) {
      logits[order[i]] = kExcluded;
    } else {
      cumulative += std::exp(static_cast<double>(logits[order[i]] - largest)) / total;
    }
  }
}

std::int64_t pick(std::span<const float> probabilities, double uniform) {
  double cumulative = 0.0;
  std::int64_t last = 0;  // what rounding leaves above the sum belongs to the last possible token
  for (std::size_t i = 0; i < probabilities.size(); ++i) {
    if (probabilities[i] == 0.0F) continue;
    cumulative += static_cast<double>(probabilities[i]);
    last = static_cast<std::int64_t>(i);
    if (cumulative > uniform) break;
  }
  return last;
}

std::int64_t pick_greedy(std::span<const float> logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

}  // namespace hone

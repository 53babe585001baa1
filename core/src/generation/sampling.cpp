#include "hone/core/generation/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
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
  std::vector<float> likeliest(static_cast<std::size_t>(k));
  std::partial_sort_copy(logits.begin(), logits.end(), likeliest.begin(), likeliest.end(),
                         std::greater<>{});
  const float threshold = likeliest.back();
  for (auto& logit : logits) {
    if (logit < threshold) logit = kExcluded;
  }
}

void keep_top_p(std::span<float> logits, double p) {
  if (p >= 1.0) return;
  // A heap, since the likeliest few are most of the probability nearly always. Of equals the first
  // comes first.
  std::vector<std::size_t> left;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] != kExcluded) left.push_back(i);
  }
  const auto is_behind = [&](std::size_t a, std::size_t b) {
    return logits[a] != logits[b] ? logits[a] < logits[b] : a > b;
  };
  std::ranges::make_heap(left, is_behind);
  if (left.empty()) return;
  const float largest = logits[left.front()];
  const auto mass = [&](std::size_t i) { return std::exp(static_cast<double>(logits[i] - largest)); };
  double total = 0.0;
  for (const auto i : left) total += mass(i);
  // A token stays while the ones before it fall short of p; the likeliest always does.
  for (double before = 0.0; !left.empty() && (before == 0.0 || before < p);) {
    before += mass(left.front()) / total;
    std::ranges::pop_heap(left, is_behind);
    left.pop_back();
  }
  for (const auto i : left) logits[i] = kExcluded;
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

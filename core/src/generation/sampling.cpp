#include "hone/core/generation/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

namespace hone {
namespace {

constexpr float kExcluded = -std::numeric_limits<float>::infinity();

float largest_of(std::span<const float> values) {
  float largest = kExcluded;
#pragma omp simd reduction(max : largest)
  for (std::size_t i = 0; i < values.size(); ++i) {
    largest = values[i] > largest ? values[i] : largest;
  }
  return largest;
}

/// Calls work(i) for each value above `least`, and some others beside it: blocks without one are
/// passed over, as nearly all of a vocabulary's are. work() may raise `least`.
template <typename Work>
void for_those_above(const float& least, std::span<const float> values, Work work) {
  constexpr std::size_t kBlock = 256;
  for (std::size_t start = 0; start < values.size(); start += kBlock) {
    const auto end = std::min(start + kBlock, values.size());
    if (largest_of(values.subspan(start, end - start)) <= least) continue;
    for (auto i = start; i < end; ++i) work(i);
  }
}

}  // namespace

void apply_temperature(std::span<float> logits, double temperature) {
  if (temperature == 1.0) return;
  const auto inverse = static_cast<float>(1.0 / temperature);
  for (auto& logit : logits) logit *= inverse;
}

void keep_top_k(std::span<float> logits, std::int64_t k) {
  if (k <= 0 || k >= static_cast<std::int64_t>(logits.size())) return;
  // The smallest of the largest so far is in front.
  const auto first = logits.first(static_cast<std::size_t>(k));
  std::vector<float> likeliest(first.begin(), first.end());
  std::ranges::make_heap(likeliest, std::greater<>{});
  float threshold = likeliest.front();
  const auto rest = logits.subspan(first.size());
  for_those_above(threshold, rest, [&](std::size_t i) {
    if (!(rest[i] > threshold)) return;
    std::ranges::pop_heap(likeliest, std::greater<>{});
    likeliest.back() = rest[i];
    std::ranges::push_heap(likeliest, std::greater<>{});
    threshold = likeliest.front();
  });
  for (auto& logit : logits) logit = logit < threshold ? kExcluded : logit;
}

void keep_top_p(std::span<float> logits, double p) {
  if (p >= 1.0) return;
  // A heap, since the likeliest few are most of the probability nearly always. Of equals the first
  // comes first.
  std::vector<std::size_t> left;
  for_those_above(kExcluded, logits, [&](std::size_t i) {
    if (logits[i] != kExcluded) left.push_back(i);
  });
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
  for_those_above(0.0F, probabilities, [&](std::size_t i) {
    if (probabilities[i] == 0.0F || cumulative > uniform) return;
    cumulative += static_cast<double>(probabilities[i]);
    last = static_cast<std::int64_t>(i);
  });
  return last;
}

std::int64_t pick_greedy(std::span<const float> logits) {
  const auto found = std::ranges::find(logits, largest_of(logits));
  return found == logits.end() ? 0 : found - logits.begin();  // where none is a number
}

}  // namespace hone

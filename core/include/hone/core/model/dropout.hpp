#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace hone {

/// Dropout of one training forward. Which elements become zero depends on (seed, update, sample,
/// site, element) alone: not on the rank, the micro-batch, padding or what was computed before, and
/// computing a block again for the backward pass gives the same.
class Dropout {
 public:
  /// Of the sequences that lie one behind another: `samples` names each, `lengths` are in tokens.
  Dropout(std::uint64_t seed, std::uint64_t update, std::vector<std::int64_t> samples,
          std::vector<std::int64_t> lengths);

  /// `x` with a share `probability` of its elements zero and the others divided by what is left.
  /// `site` numbers the places of a model where elements are dropped. Shape: x (sum of lengths,
  /// ...).
  at::Tensor operator()(const at::Tensor& x, double probability, std::int64_t site) const;

  /// The same for what belongs to one sequence only (attention weights, say), of any shape.
  at::Tensor of_sequence(std::size_t sequence, const at::Tensor& x, double probability,
                         std::int64_t site) const;

 private:
  std::uint64_t seed_, update_;
  std::vector<std::int64_t> samples_, lengths_;
};

/// x through `dropout`, or x itself where there is none.
inline at::Tensor dropped(const Dropout* dropout, const at::Tensor& x, double probability,
                          std::int64_t site) {
  return dropout == nullptr || probability == 0.0 ? x : (*dropout)(x, probability, site);
}

}  // namespace hone

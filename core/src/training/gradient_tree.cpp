#include "training/gradient_tree.hpp"

#include <ATen/TensorOperators.h>

#include "hone/core/model/parameter_store.hpp"

namespace hone::detail {

void GradientTree::end_leaf() {
  // As in a binary counter: each trailing one of the leaf's number is a left half that now gets its
  // right.
  for (auto number = done_; (number & 1) != 0; number >>= 1) {
    const auto groups = parameters_.groups();
    for (std::size_t i = 0; i < groups.size(); ++i) {
      groups[i].gradients.add_(waiting_.back()[i]);
    }
    waiting_.pop_back();
  }
  ++done_;
  if (done_ == num_leaves_) return;
  auto& half = waiting_.emplace_back();
  for (const auto& group : parameters_.groups()) half.push_back(group.gradients.clone());
  parameters_.zero_gradients();
}

double tree_sum(std::vector<double> values) {
  if (values.empty()) return 0.0;
  while (values.size() > 1) {
    const auto pairs = values.size() / 2;
    const bool odd = values.size() % 2 != 0;
    const double last = values.back();
    for (std::size_t i = 0; i < pairs; ++i) values[i] = values[2 * i] + values[2 * i + 1];
    values.resize(pairs);
    if (odd) values.push_back(last);
  }
  return values.front();
}

}  // namespace hone::detail

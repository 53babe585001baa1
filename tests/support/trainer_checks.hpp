#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <vector>

#include "hone/core/model/language_model.hpp"
#include "hone/core/stop_signal.hpp"

namespace hone::testing {

/// A copy of all parameters, in their flat layout.
inline std::vector<at::Tensor> weights_of(LanguageModel& model) {
  std::vector<at::Tensor> copies;
  for (const auto& group : model.parameters().groups()) copies.push_back(group.values.clone());
  return copies;
}

/// Bit for bit.
inline bool same_weights(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  return std::ranges::equal(a, b, [](const at::Tensor& left, const at::Tensor& right) {
    return left.equal(right);
  });
}

/// Asks once, when it is read for the `when`-th time, counted from 1; 0 is never.
class StopAtRead final : public StopSignal {
 public:
  StopAtRead(int when, StopRequest request) : when_(when), request_(request) {}
  StopRequest take() override { return ++reads_ == when_ ? request_ : StopRequest::None; }

 private:
  int when_;
  StopRequest request_;
  int reads_ = 0;
};

}  // namespace hone::testing

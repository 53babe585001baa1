#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <unordered_map>
#include <vector>

#include "hone/core/gradient_reducer.hpp"
#include "hone/core/model/parameter_store.hpp"
#include "plans/bucket_countdown.hpp"

namespace hone::detail {

/// The sum of a model's gradients over all ranks: after the backward pass or, where the reducer can
/// do both at once, bucket by bucket during it.
/// Ownership: parameters, which have gradients, and reducer outlive it. Of a model there is one at
/// a time: it hangs itself on the parameters.
class GradientExchange {
 public:
  GradientExchange(ParameterStore& parameters, GradientReducer& reducer, SumsFor whom);
  ~GradientExchange();

  GradientExchange(const GradientExchange&) = delete;
  GradientExchange& operator=(const GradientExchange&) = delete;

  /// The last backward pass of an update comes next: what it has completed may be sent.
  void begin_last_pass();
  /// A gradient was written otherwise than by autograd, which is listened to.
  void wrote(const at::Tensor& parameter);
  /// Sends what is not sent yet, and waits. Collective.
  /// `has_succeeded`: of the pass that begin_last_pass() announced, on this rank.
  void finish(bool has_succeeded);

 private:
  void start(const BucketCountdown::Bucket& bucket);

  ParameterStore& parameters_;
  GradientReducer& reducer_;
  SumsFor whom_;
  std::unordered_map<const c10::TensorImpl*, std::size_t> index_;
  std::vector<std::size_t> frozen_;  ///< in this pass
  BucketCountdown countdown_;
};

}  // namespace hone::detail

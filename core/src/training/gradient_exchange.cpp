#include "training/gradient_exchange.hpp"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>

#include "training/tensor_bytes.hpp"

namespace hone::detail {
namespace {

/// Called by autograd when it has added to a parameter's gradient.
class WroteHook final : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit WroteHook(GradientExchange& exchange) : exchange_(exchange) {}
  void operator()(const at::Tensor& parameter) override { exchange_.wrote(parameter); }

 private:
  GradientExchange& exchange_;
};

std::vector<BucketCountdown::Place> places_of(const ParameterStore& parameters) {
  std::vector<BucketCountdown::Place> places;
  for (std::size_t i = 0; i < parameters.all().size(); ++i) {
    const auto slice = parameters.slice_of(i);
    places.push_back({slice.group, slice.range});
  }
  return places;
}

std::vector<BufferPartition> partitions_of(const ParameterStore& parameters,
                                           const GradientReducer& reducer) {
  std::vector<BufferPartition> partitions;
  for (const auto& group : parameters.groups()) {
    partitions.push_back(reducer.partition(group.gradients.numel()));
  }
  return partitions;
}

}  // namespace

GradientExchange::GradientExchange(ParameterStore& parameters, GradientReducer& reducer,
                                   SumsFor whom)
    : parameters_(parameters),
      reducer_(reducer),
      whom_(whom),
      countdown_(places_of(parameters), partitions_of(parameters, reducer),
                 [this](const auto& bucket) { start(bucket); }) {
  if (!reducer_.overlaps()) return;
  for (std::size_t i = 0; i < parameters_.all().size(); ++i) {
    const auto& value = parameters_.all()[i].value;
    index_.emplace(value.unsafeGetTensorImpl(), i);
    torch::autograd::impl::set_post_acc_grad_hooks(value, std::make_unique<WroteHook>(*this));
  }
}

GradientExchange::~GradientExchange() {
  if (index_.empty()) return;
  for (const auto& parameter : parameters_.all()) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameter.value, nullptr);
  }
}

void GradientExchange::begin_last_pass() {
  if (!reducer_.overlaps()) return;
  frozen_.clear();
  for (std::size_t i = 0; i < parameters_.all().size(); ++i) {
    if (!parameters_.all()[i].value.requires_grad()) frozen_.push_back(i);
  }
  countdown_.begin(frozen_);
}

void GradientExchange::wrote(const at::Tensor& parameter) {
  const auto found = index_.find(parameter.unsafeGetTensorImpl());
  if (found != index_.end()) countdown_.wrote(found->second);
}

void GradientExchange::finish(bool has_succeeded) {
  countdown_.finish(has_succeeded);
  reducer_.wait();
}

void GradientExchange::start(const BucketCountdown::Bucket& bucket) {
  reducer_.start(buffer_of(parameters_.groups()[bucket.buffer].gradients), bucket.index, whom_);
}

}  // namespace hone::detail

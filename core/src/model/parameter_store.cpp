#include "hone/core/model/parameter_store.hpp"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <array>
#include <numeric>

namespace hone {
namespace {

constexpr std::int64_t kAlignmentBytes = 64;

std::int64_t num_elements_of(std::span<const std::int64_t> shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>{});
}

}  // namespace

ParameterStore::ParameterStore(std::span<const ParameterSpec> specs, at::TensorOptions options,
                               bool with_masters) {
  align_ = kAlignmentBytes / static_cast<std::int64_t>(options.dtype().itemsize());
  std::array<std::int64_t, 2> sizes{0, 0};
  for (const auto& spec : specs) {
    const std::size_t group = spec.decayed ? 0 : 1;
    const std::int64_t count = num_elements_of(spec.shape);
    places_.push_back({group, sizes[group], count});
    sizes[group] += (count + align_ - 1) / align_ * align_;
  }
  for (std::size_t group = 0; group < sizes.size(); ++group) {
    groups_.push_back(
        {.values = at::zeros({sizes[group]}, options), .gradients = {}, .decayed = group == 0});
  }
  if (with_masters) allocate_masters();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const auto& place = places_[i];
    auto view = groups_[place.group]
                    .values.narrow(0, place.offset, place.count)
                    .view(specs[i].shape)
                    .detach();
    parameters_.push_back({specs[i].name, view, specs[i].decayed});
    index_.emplace(specs[i].name, i);
  }
}

void ParameterStore::allocate_masters() {
  for (auto& group : groups_) {
    if (group.values.element_size() < 4) group.masters = group.values.to(at::kFloat);
  }
}

void ParameterStore::allocate_gradients(const Allocate& allocate) {
  for (auto& group : groups_) {
    const auto& like = group.trained();
    std::shared_ptr<std::byte> memory;
    if (allocate && like.is_cpu() && like.numel() > 0) {
      memory = allocate(static_cast<std::int64_t>(like.nbytes()));
    }
    group.gradients = memory == nullptr
                          ? at::zeros_like(like)
                          : at::from_blob(memory.get(), like.sizes(), [memory](void*) {}, like.options());
  }
}

std::vector<ParameterSlice> ParameterStore::whole() const {
  std::vector<ParameterSlice> slices;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    slices.push_back({i, {0, groups_[i].values.numel()}});
  }
  return slices;
}

std::vector<ParameterSlice> ParameterStore::trainable(const ParameterSlice& slice) const {
  std::vector<ParameterSlice> runs;
  std::int64_t begin = slice.range.begin;
  const auto close_run = [&](std::int64_t end) {
    if (begin < end) runs.push_back({slice.group, {begin, end - begin}});
  };
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const auto& place = places_[i];
    if (place.group != slice.group || parameters_[i].value.requires_grad()) continue;
    close_run(std::min(place.offset, slice.range.end()));
    // Behind the padding: vectors and their ends lie as they do without a frozen parameter.
    begin = std::max(begin, (place.offset + place.count + align_ - 1) / align_ * align_);
  }
  close_run(slice.range.end());
  return runs;
}

void ParameterStore::enable_training(const Allocate& allocate) {
  if (!groups_.front().masters.defined()) allocate_masters();
  allocate_gradients(allocate);
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    auto& value = parameters_[i].value;
    value.requires_grad_(true);
    value.set_grad_dtype(groups_[places_[i].group].gradients.scalar_type());
    value.mutable_grad() = view_in(groups_[places_[i].group].gradients, i);
  }
}

void ParameterStore::zero_gradients() {
  for (auto& group : groups_) group.gradients.zero_();
}

void ParameterStore::round_masters() {
  const c10::NoGradGuard no_grad;
  for (auto& group : groups_) {
    if (group.masters.defined()) group.values.copy_(group.masters);
  }
}

const at::Tensor& ParameterStore::at(const std::string& name) const {
  return parameters_[index_.at(name)].value;
}

at::Tensor ParameterStore::view_in(const at::Tensor& flat, std::size_t parameter) const {
  const auto& place = places_[parameter];
  return flat.narrow(0, place.offset, place.count).view(parameters_[parameter].value.sizes());
}

std::int64_t ParameterStore::num_elements() const {
  std::int64_t total = 0;
  for (const auto& place : places_) total += place.count;
  return total;
}

}  // namespace hone

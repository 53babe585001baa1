#include "hone/core/training/checkpoint_tensors.hpp"

#include <ATen/ops/empty_like.h>

#include <optional>
#include <utility>

#include "hone/core/model/language_model.hpp"
#include "hone/core/training/optimizer.hpp"
#include "training/tensor_bytes.hpp"

namespace hone {
namespace {

TensorBytes named(std::string name, const at::Tensor& live, HostCopies& copies) {
  const auto tensor = copies.of(live);
  return {std::move(name), detail::dtype_of(tensor), tensor.sizes().vec(),
          {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()}};
}

/// What `flat`, which holds `slice`, has of a parameter.
std::optional<TensorBytes> piece_of(const ParameterStore& store, std::size_t parameter,
                                    const ParameterSlice& slice, const at::Tensor& flat,
                                    HostCopies& copies) {
  const auto [group, range] = store.slice_of(parameter);
  const auto common = overlap(range, slice.range);
  if (group != slice.group || common.count == 0) return std::nullopt;
  const auto held = flat.narrow(0, common.begin - slice.range.begin, common.count);
  auto piece = named({}, held, copies);
  piece.shape = store.all()[parameter].value.sizes().vec();
  piece.first = common.begin - range.begin;
  return piece;
}

}  // namespace

at::Tensor HostCopies::of(const at::Tensor& tensor) {
  if (what_ == Of::Outlines) return at::empty_like(tensor, at::kMeta);
  if (tensor.is_cpu()) return tensor;
  pairs_.emplace_back(tensor, tensor.detach().to(at::kCPU));
  return pairs_.back().second;
}

void HostCopies::copy_back() {
  for (auto& [device, host] : pairs_) device.copy_(host);
}

std::vector<TensorBytes> model_tensors(LanguageModel& model, HostCopies& copies) {
  std::vector<TensorBytes> tensors;
  const auto& store = model.parameters();
  for (std::size_t i = 0; i < store.all().size(); ++i) {
    tensors.push_back(named("model/" + store.all()[i].name, store.trained(i).detach(), copies));
  }
  return tensors;
}

std::vector<TensorBytes> optimizer_tensors(LanguageModel& model, Optimizer& optimizer,
                                           HostCopies& copies, bool is_dealt) {
  std::vector<TensorBytes> tensors;
  const auto& store = model.parameters();
  const auto slices = optimizer.slices();
  for (const auto& [name, flat] : optimizer.state()) {
    for (std::size_t i = 0; i < store.all().size(); ++i) {
      for (std::size_t j = 0; j < slices.size(); ++j) {
        auto piece = piece_of(store, i, slices[j], flat[j], copies);
        if (!piece) continue;
        piece->name = name + "/" + store.all()[i].name;
        piece->is_dealt = is_dealt;
        tensors.push_back(std::move(*piece));
      }
    }
  }
  return tensors;
}

}  // namespace hone

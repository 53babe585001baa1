#include "hone/core/training/checkpoint_tensors.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <optional>
#include <utility>

#include "hone/core/model/language_model.hpp"
#include "hone/core/training/optimizer.hpp"
#include "training/tensor_bytes.hpp"

namespace hone {
namespace {

TensorBytes named(std::string name, const at::Tensor& live, HostCopies* to_load) {
  const auto tensor = to_load != nullptr ? to_load->of(live) : live;
  TensorBytes named{std::move(name), detail::dtype_of(tensor), tensor.sizes().vec(), {}};
  if (tensor.is_cpu()) {
    named.bytes = {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()};
  } else {
    named.bytes = {static_cast<std::byte*>(nullptr), tensor.nbytes()};
    named.fetch = [tensor](std::span<std::byte> to) {
      at::from_blob(to.data(), tensor.sizes(), tensor.options().device(at::kCPU)).copy_(tensor);
    };
  }
  return named;
}

/// What `flat`, which holds `slice`, has of a parameter.
std::optional<TensorBytes> piece_of(const ParameterStore& store, std::size_t parameter,
                                    const ParameterSlice& slice, const at::Tensor& flat,
                                    HostCopies* to_load) {
  const auto [group, range] = store.slice_of(parameter);
  const auto common = overlap(range, slice.range);
  if (group != slice.group || common.count == 0) return std::nullopt;
  const auto held = flat.narrow(0, common.begin - slice.range.begin, common.count);
  auto piece = named({}, held, to_load);
  piece.shape = store.all()[parameter].value.sizes().vec();
  piece.first = common.begin - range.begin;
  return piece;
}

}  // namespace

at::Tensor HostCopies::of(const at::Tensor& tensor) {
  if (tensor.is_cpu()) return tensor;
  pairs_.emplace_back(tensor, at::empty(tensor.sizes(), tensor.options().device(at::kCPU)));
  return pairs_.back().second;
}

void HostCopies::copy_back() {
  for (auto& [device, host] : pairs_) device.copy_(host);
}

std::vector<TensorBytes> model_tensors(LanguageModel& model, HostCopies* to_load) {
  std::vector<TensorBytes> tensors;
  const auto& store = model.parameters();
  for (std::size_t i = 0; i < store.all().size(); ++i) {
    tensors.push_back(named("model/" + store.all()[i].name, store.trained(i).detach(), to_load));
  }
  return tensors;
}

std::vector<TensorBytes> optimizer_tensors(LanguageModel& model, Optimizer& optimizer,
                                           HostCopies* to_load, bool is_dealt) {
  std::vector<TensorBytes> tensors;
  const auto& store = model.parameters();
  const auto slices = optimizer.slices();
  for (const auto& [name, flat] : optimizer.state()) {
    for (std::size_t i = 0; i < store.all().size(); ++i) {
      for (std::size_t j = 0; j < slices.size(); ++j) {
        auto piece = piece_of(store, i, slices[j], flat[j], to_load);
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
